"""What the region was before the history's last edit."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import small_task

from gapo_cli.edits.reversal import region_before, region_undone, take_back
from gapo_cli.evaluation.predictions import predicted_region
from gapo_cli.evaluation.summary import summarise
from gapo_cli.records import HistoryEvent
from gapo_cli.statistics.intervals import wilson

REGION = "a\nlog(x)\nb\nprint(y)\n"
TARGET = "a\nlog(x)\nb\nlog(y)\n"
UNDONE = "a\nprint(x)\nb\nprint(y)\n"
EDIT = "@@ -1,3 +1,3 @@\n a\n-print(x)\n+log(x)\n b\n"


def task(*diffs, region=REGION, target=TARGET, path="a.py", name="t"):
    return small_task(name, region, target, history=tuple(HistoryEvent("edit", path, diff) for diff in diffs))


@pytest.mark.parametrize(
    ("diffs", "undone"),
    [
        ([EDIT], UNDONE),
        # only the newest edit counts
        (["@@ -1 +1 @@\n-c\n+a\n", EDIT], UNDONE),
        # context that sticks out of the region is cut off
        (["@@ -1,5 +1,5 @@\n outside\n a\n-print(x)\n+log(x)\n b\n"], UNDONE),
        # added lines go, removed lines come back
        (["@@ -1,2 +1,3 @@\n a\n+log(x)\n b\n"], "a\nb\nprint(y)\n"),
        (["@@ -1,3 +1,2 @@\n log(x)\n-gone\n b\n"], "a\nlog(x)\ngone\nb\nprint(y)\n"),
        # a hunk elsewhere changes nothing here; the one that is here is taken back
        (["@@ -1 +1 @@\n-q\n+r\n" + EDIT], UNDONE),
    ],
)
def test_the_last_edit_is_taken_back(diffs, undone):
    assert region_undone(task(*diffs)) == undone


@pytest.mark.parametrize(
    "edited",
    [
        task(),
        task("@@ -1 +1 @@\n-q\n+r\n"),
        task(EDIT, path="b.py"),
        task("@@ -1 +1 @@\n-q\n+a\n", region="a\nb\na\n"),  # a stands at two places
        task(EDIT, target=UNDONE),  # undoing is what is asked for
    ],
)
def test_where_nothing_can_be_undone_wrongly_there_is_none(edited):
    assert region_undone(edited) is None


@pytest.mark.parametrize("named", ["src/a.py", "project/src/a.py", "a.py"])
def test_the_newest_edit_of_the_own_file_is_taken_back_whatever_was_edited_elsewhere_since(named):
    edited = replace(task(), path="src/a.py", history=(HistoryEvent("edit", named, EDIT), HistoryEvent("edit", "b.py", EDIT)))
    assert region_before(edited) == UNDONE
    assert region_undone(edited) is None  # the reversal rate looks at the newest edit alone
    assert region_undone(replace(edited, history=edited.history[:1])) == UNDONE


def test_an_accepted_prediction_is_not_the_developers_to_undo():
    edited = replace(task(), history=(HistoryEvent("edit", "a.py", EDIT), HistoryEvent("edit", "a.py", EDIT, predicted=True)))
    assert region_before(edited) is None


def test_the_reversal_rate_is_over_the_tasks_with_an_edit_to_undo():
    answers = [
        predicted_region(task(EDIT, name="undone"), UNDONE.strip()),
        predicted_region(task(EDIT, name="right"), TARGET),
        predicted_region(task(EDIT, name="kept"), REGION),
        predicted_region(task(name="nothing to undo"), UNDONE),
    ]
    overall = summarise(answers).greedy.overall
    assert overall.reversible_tasks == 3
    assert overall.reversal_rate == wilson(1, 3)


@given(st.text("-+ @\\ab\n", max_size=40), st.text("ab \n", max_size=20))
def test_any_text_as_a_diff_is_taken_without_an_error(diff, region):
    undone = region_undone(task(diff, region=region))
    assert undone is None or undone.strip() != region.strip()


def cut_and_searched(hunk, lines):
    """What `take_back` does, by trying every cut of the context, the longest first, at every place."""
    changed = [place for place, (sign, _) in enumerate(hunk) if sign in "+-"]
    cuts = [(start, end) for start in range(changed[0] + 1) for end in range(changed[-1] + 1, len(hunk) + 1)]
    for start, end in sorted(cuts, key=lambda cut: cut[0] - cut[1]):
        new = [text for sign, text in hunk[start:end] if sign != "-"]
        places = [at for at in range(len(lines) - len(new) + 1) if lines[at : at + len(new)] == new] if new else []
        if len(places) == 1:
            old = [text for sign, text in hunk[start:end] if sign != "+"]
            return [*lines[: places[0]], *old, *lines[places[0] + len(new) :]]
    return lines


HUNKS = st.lists(st.tuples(st.sampled_from(" +-"), st.sampled_from("ab")), min_size=1, max_size=8)


@settings(max_examples=300)
@given(HUNKS.filter(lambda hunk: any(sign in "+-" for sign, _ in hunk)), st.lists(st.sampled_from("ab"), max_size=9))
def test_as_much_context_counts_as_leaves_one_place(hunk, lines):
    assert take_back(hunk, lines) == cut_and_searched(hunk, lines)


def test_a_hunk_with_thousands_of_context_lines_is_read():
    # a search through every cut of the context at every line would take days
    diff = "@@ -1 +1 @@\n" + " z\n" * 3000 + "-y\n+x\n" + " z\n" * 3000
    assert region_undone(task(diff, region="x\n" * 3000)) is None
