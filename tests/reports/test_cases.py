"""The page of an evaluation's cases."""

import re

import pytest
from parts import small_task

from gapo_cli.evaluation.predictions import predicted_region, unanswered
from gapo_cli.records import HistoryEvent
from gapo_cli.reports.cases import outcome_of, shown_cases, visible, within_limit, write_cases

EVIL = "</script><script>alert(1)</script>"


def task(name, region="old\n", target="new\n", language="python"):
    history = (HistoryEvent("edit", "a.py", f"@@ -1 +1 @@\n-{EVIL}\n+y\n"), HistoryEvent("open", "b.py"))
    return small_task(
        name, region, target, before="above\n", after="below\n", language=language, path=f"{name}.py", history=history
    )


TASKS = [task("right"), task("wrong"), task("still", language="go"), task("silent"), task("rest", target="old\n")]
ANSWERS = [
    predicted_region(TASKS[0], "new"),
    predicted_region(TASKS[1], EVIL),
    predicted_region(TASKS[2], "old"),
    unanswered(TASKS[3], "prompt_too_long", "greedy", cut=("history: 2 oldest events",)),
    predicted_region(TASKS[4], "old\n"),
]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    list(zip(ANSWERS, ["right", "wrong", "no-op", "malformed", "right"], strict=True)),
    ids=lambda value: "",
)
def test_every_answer_has_one_outcome(answer, outcome):
    assert outcome_of(answer) == outcome


def test_the_page_shows_each_case_and_escapes_all_of_it(tmp_path):
    page = write_cases(TASKS, ANSWERS, f"tiny {EVIL}", tmp_path / "cases.html").read_text()
    assert re.findall(r'class="case[^"]*" data-outcome="([a-z-]+)" data-malformed="(\w*)" data-language="([a-z]+)"', page) == [
        ("right", "", "python"), ("wrong", "", "python"), ("no-op", "", "go"), ("malformed", "prompt_too_long", "python"),
        ("right", "", "python"),
    ]  # fmt: skip
    assert "Left out of the prompt: history: 2 oldest events" in page
    assert EVIL not in page and page.count("<script>") == 1
    assert "alert(1)" in page  # as text
    assert "<del>old</del><ins>new</ins>" in page
    assert "malformed: prompt_too_long" in page
    assert "opened b.py" in page
    assert "not on this page" not in page


def test_cases_can_be_filtered_by_why_they_are_malformed(tmp_path):
    page = write_cases(TASKS, ANSWERS, "tiny", tmp_path / "cases.html").read_text()
    assert '<select data-filter="malformed"><option value="">all</option><option value="=prompt_too_long">' in page
    assert 'data-filter="malformed"' not in write_cases(TASKS[:2], ANSWERS[:2], "tiny", tmp_path / "two.html").read_text()


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    page = write_cases(TASKS, ANSWERS, "tiny", tmp_path / "cases.html").read_text()
    assert not re.search(r"(src|href)=|url\(|@import|https?://", page)


def test_cases_beyond_the_limit_are_left_out_evenly_and_counted(tmp_path):
    many = [task(f"w{number}", target="x" * 500) for number in range(50)]
    answers = [predicted_region(one, "y") for one in many] + ANSWERS
    page = write_cases([*many, *TASKS], answers, "tiny", tmp_path / "cases.html", limit=20_000)
    text = page.read_text()
    shown = text.count('<details class="case')
    assert 5 < shown < 55
    assert f"{55 - shown} of the cases are not on this page" in text
    assert {"right", "wrong", "no-op", "malformed"} == set(re.findall(r'data-outcome="([a-z-]+)"', text))
    style_and_script = len(write_cases([], [], "tiny", tmp_path / "empty.html").read_text())
    assert len(text) - style_and_script < 20_000


def test_a_case_that_is_too_large_alone_is_left_out():
    assert within_limit(shown_cases(TASKS, ANSWERS), 10) == []


def test_white_space_that_changed_can_be_seen():
    assert visible("  \n") == "··↵\n"
    assert visible("a b\tc") == "a b→\tc"
