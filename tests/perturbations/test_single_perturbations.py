"""What each of the other perturbations does to a small task, and when it does not apply."""

import random
from dataclasses import replace

import pytest
from parts import small_task

from gapo_cli.errors import PartError, UserError
from gapo_cli.perturbations.blank_lines import BlankLines
from gapo_cli.perturbations.calls import NOTHING_CHANGES, perturb
from gapo_cli.perturbations.comment import Comment
from gapo_cli.perturbations.cursor_column import CursorColumn
from gapo_cli.perturbations.insertion import places_for_a_line, with_line
from gapo_cli.perturbations.quotes import quoted
from gapo_cli.perturbations.related_order import RelatedOrder
from gapo_cli.perturbations.shorter_excerpt import ShorterExcerpt
from gapo_cli.perturbations.shorter_history import ShorterHistory
from gapo_cli.perturbations.unrelated_edit import FILE, UnrelatedEdit
from gapo_cli.records import DoesNotApply, Hint, Perturbed


def drawn(perturbation, task, seeds=20):
    """What it makes of the task, for several draws."""
    found = [perturbation(task, random.Random(seed)) for seed in range(seeds)]
    return [one.task if isinstance(one, Perturbed) else one for one in found]


@pytest.mark.parametrize("kind", [BlankLines, Comment])
def test_lines_are_added_outside_the_region_and_the_cursor_keeps_its_place_in_it(kind):
    task = small_task(region="b\n", target="c\n", before="def a():\n    x\n", after="d\n", cursor=(16, 16))
    assert task.excerpt[15:17] == "b\n"
    for changed in drawn(kind(), task):
        assert (changed.region, changed.target) == ("b\n", "c\n")
        assert changed.cursor[0] - changed.editable[0] == 1
        assert len(changed.excerpt) > len(task.excerpt)
        kept = [line for line in changed.excerpt.splitlines() if line.strip() and "#" not in line]
        assert kept == ["def a():", "    x", "b", "d"]


def test_a_comment_has_the_languages_sign_and_the_indentation_of_the_line_below():
    task = small_task(region="b\n", target="c\n", before="  x\n", language="lua", path="a.lua")
    lines = {line for changed in drawn(Comment(), task) for line in changed.excerpt.splitlines()} - {"  x", "b"}
    assert len(lines) > 1 and all(line.lstrip().startswith("-- ") for line in lines)
    assert any(line.startswith("  -- ") for line in lines)


def test_no_line_is_put_into_a_string_or_after_a_continued_line_or_before_the_first_line_of_a_file():
    before = '"""Doc\nmore\n"""\na = 1 \\\n  + 2\n'
    task = small_task(region="b\n", target="c\n", before=before, at_file_start=True)
    places = places_for_a_line(task, quoted(task.excerpt, "python"))
    # before `a`, before the region, behind it
    assert [task.excerpt[place : place + 1] for place in places] == ["a", "b", ""]


def test_below_an_empty_region_the_cursor_in_it_stays():
    task = small_task(region="b\n", target="c\n", after="d\n", cursor=(2, 2))
    assert with_line(task, 2, "").cursor == (2, 2)
    assert with_line(task, 0, "").cursor == (3, 3)


@pytest.mark.parametrize(
    ("perturbation", "fields", "reason"),
    [
        (BlankLines(), {"region": '"""cut\n', "target": "x\n"}, "a string is cut by the excerpt's end"),
        (Comment(), {"language": "json"}, "a language without line comments"),
        (CursorColumn(), {}, "no cursor"),
        (CursorColumn(), {"cursor": (0, 1)}, "a selection"),
        (CursorColumn(), {"region": "\n", "cursor": (0, 0)}, "an empty line"),
        (ShorterHistory(), {"diffs": ("@@ -1 +1 @@\n-a\n+b\n",)}, "fewer than two events"),
        (ShorterHistory(), {"diffs": ("@@ -1 +1 @@\n-a\n+b\n", "@@ -1 +1 @@\n-x\n+y\n")}, "the oldest event is needed"),
        (ShorterExcerpt(), {"before": "x\n"}, "no lines to leave out"),
        (RelatedOrder(), {"hints": (Hint("related_file", "b.py", "x"),)}, "fewer than two related files"),
    ],
)
def test_what_does_not_apply_says_why(perturbation, fields, reason):
    assert set(drawn(perturbation, small_task(**fields))) == {DoesNotApply(reason)}


def test_the_cursor_goes_to_any_other_column_of_its_line():
    task = small_task(region="abc\nd\n", target="x\n", before="yy\n", cursor=(4, 4))
    assert {changed.cursor[0] for changed in drawn(CursorColumn(), task, 60)} == {3, 5, 6}


def test_the_unrelated_edit_stands_anywhere_and_shares_no_changed_word_with_the_task():
    task = small_task(region="kettle\n", target="seven\n", diffs=("@@ -1 +1 @@\n-a\n+b\n",) * 2)
    events = [[event.path for event in changed.history] for changed in drawn(UnrelatedEdit(), task, 60)]
    assert {paths.index(FILE) for paths in events} == {0, 1, 2}
    for changed in drawn(UnrelatedEdit(), task, 60):
        (event,) = (one for one in changed.history if one.path == FILE)
        assert "seven" not in event.diff


def test_an_older_event_goes_where_the_newer_ones_ask_for_the_same():
    rename = "@@ -1 +1 @@\n-f(a)\n+f(b)\n"
    task = small_task(region="g(a)\n", target="g(b)\n", diffs=("@@ -1 +1 @@\n-q\n+r\n", rename))
    assert {len(changed.history) for changed in drawn(ShorterHistory(), task)} == {1}
    assert all(changed.history[0].diff == rename for changed in drawn(ShorterHistory(), task))


def test_far_lines_go_unless_the_answer_needs_them():
    task = small_task(
        region="f(x)\n", target="f(needed)\n", before="needed = 1\nnear = 2\n", after="p\nq\nr\ns\n", at_file_start=True
    )
    for changed in drawn(ShorterExcerpt(), task):
        if isinstance(changed, DoesNotApply):
            assert changed.reason in ("the lines left out are needed", "no lines to leave out")
        else:
            assert "needed = 1" in changed.excerpt and changed.at_file_start
            assert changed.after in ("p\nq\n", "p\nq\nr\n")


def test_related_files_change_places_and_other_hints_stay():
    hints = (Hint("related_file", "b.py", "x", order=1), Hint("note", None, "n"), Hint("related_file", "c.py", "y", order=2))
    for changed in drawn(RelatedOrder(), small_task(hints=hints), 3):
        assert [hint.path for hint in changed.hints] == ["c.py", None, "b.py"]
        assert [hint.order for hint in changed.hints] == [1, 0, 2]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda task, generator: 1 / 0, r"task t: perturbation=<lambda>: raised ZeroDivisionError"),
        (lambda task, generator: task, "task t: perturbation.mine=<lambda>: gives EditTask; need gapo_cli.records.Perturbed"),
        (lambda task, generator: Perturbed(small_task("other")), "gives task other; need a task with the same id"),
        (lambda task, generator: DoesNotApply(3), "gives a reason of type int; need a str"),
        (lambda task, generator: DoesNotApply([]), "gives a reason of type list; need a str"),
        (
            lambda task, generator: Perturbed(task, 5),
            "task t: perturbation=<lambda>: raised TypeError: 'int' object is not callable",
        ),
        (lambda task, generator: Perturbed(small_task(target="z\n")), "changes the answer: its targets do not read back"),
    ],
)
def test_one_of_the_users_that_fails_is_named_with_the_task(given, sentence):
    with pytest.raises(PartError, match=sentence):
        perturb("mine", given, small_task(), 0)


@pytest.mark.parametrize(
    ("restored", "sentence"),
    [
        (lambda text: 1 / 0, "task t: perturbation=mine: raised ZeroDivisionError: division by zero"),
        (
            lambda text: 3,
            "task t: perturbation.mine=mine: reads an answer back as int; need a str that UTF-8 can hold, or None",
        ),
        (lambda text: "\udcff", "reads an answer back as a str that UTF-8 cannot hold"),
    ],
)
def test_an_answer_that_a_perturbation_fails_to_read_back_is_told_of_with_the_task(restored, sentence):
    task = small_task()
    targets = set(task.targets)

    def mine(task, generator):
        return Perturbed(replace(task, path="other.py"), lambda text: text if text in targets else restored(text))

    found = perturb("mine", mine, task, 0)
    assert found.restored(task.target) == task.target
    with pytest.raises(PartError, match=sentence):
        found.restored("an answer")


def test_a_draw_that_changes_nothing_does_not_apply_and_the_sources_own_wording_is_left_out():
    assert perturb("mine", lambda task, generator: Perturbed(task), small_task(), 0) == NOTHING_CHANGES
    task = small_task(raw={"zeta": {"input": "the text as it was"}}, cursor=(0, 0))
    assert perturb("cursor_column", CursorColumn(), task, 0).task.raw is None


def test_a_number_below_one_is_refused():
    with pytest.raises(UserError, match=r"perturbation.blank_lines.lines=0"):
        BlankLines(0)
