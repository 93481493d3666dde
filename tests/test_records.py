"""Edit tasks: what they refuse, what they derive, and that JSON gives them back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import edit_task

from gapo_cli.errors import DataError
from gapo_cli.prompts.five_part import FivePart
from gapo_cli.prompts.zeta1 import Zeta1
from gapo_cli.records import EditTask, Hint, HistoryEvent

WHOLE = replace(
    edit_task(1),
    history=(
        HistoryEvent("edit", "a.py", "@@ -1 +1 @@\n-a\n+b\n", predicted=True),
        HistoryEvent("rename", "b.py", old_path="a.py"),
    ),
    hints=(
        Hint("related_file", "c.py", "def f(): ...\n", rows=(3, 4), order=2, source="import", file_rows=9),
        Hint("diagnostic", "made/up.py", "b is not defined", rows=(1, 2), snippet="a = b\n"),
    ),
    alternatives=("a = d\n",),
    cursor_after=0,
)


def stored(task):
    return EditTask.from_dict(json.loads(json.dumps(task.to_dict())))


def test_every_field_comes_back_from_json():
    assert stored(WHOLE) == WHOLE
    assert stored(WHOLE).cursor_after == 0  # the first place of a target is not nowhere
    still = replace(edit_task(2, target="a = b\n"), no_edit=True)
    assert stored(still) == still and stored(still).no_edit


def test_a_row_says_nothing_of_what_is_as_by_default():
    row = edit_task(1).to_dict()
    assert set(row) == {"id", "source", "language", "path", "excerpt", "editable", "target", "labels"}
    event, rename = WHOLE.to_dict()["history"]
    assert set(event) == {"kind", "path", "diff", "predicted"} and set(rename) == {"kind", "path", "old_path"}


def test_rows_without_the_newer_fields_are_read_as_they_were():
    row = edit_task(1).to_dict() | {
        "history": [{"kind": "edit", "path": "a.py", "diff": "", "old_path": None}],
        "hints": [{"kind": "note", "path": None, "text": "x"}],
    }
    task = EditTask.from_dict(row)
    assert task.history == (HistoryEvent("edit", "a.py"),) and not task.history[0].predicted
    assert task.hints == (Hint("note", None, "x"),) and task.cursor_after is None and not task.no_edit


def test_acceptable_targets_stand_once_and_the_first_one_first():
    assert replace(WHOLE, alternatives=("a = d\n", WHOLE.target, "a = d\n")).targets == ("a = c\n", "a = d\n")


def test_a_cursor_outside_the_target_and_a_no_edit_that_edits_are_refused():
    with pytest.raises(DataError, match="cursor_after 7 lies outside its target of 6 characters"):
        replace(edit_task(1), cursor_after=7)
    with pytest.raises(DataError, match="no_edit, but its target is not the region"):
        replace(edit_task(1), no_edit=True)


@given(
    st.sampled_from(["related_file", "diagnostic"]), st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)), st.integers()
)
def test_any_hint_comes_back(kind, rows, order):
    task = replace(edit_task(1), hints=(Hint(kind, None, "text", rows, order),))
    assert stored(task) == task


ROW = {"id": "x", "source": {"dataset": "d", "split": "eval"}, "language": "go", "path": "a.go"}


def test_carriage_returns_are_taken_out_and_offsets_move_along():
    text = "a := 1\r\nb := 1\r\nc := 1\r\n"  # lines of 8 characters
    task = EditTask.from_dict(
        {**ROW, "excerpt": text, "editable": [8, 24], "cursor": [12, 12], "target": "b := 2\r\nc := 2\r\n", "rejected": ["b\r\n"],
         "history": [{"kind": "edit", "path": "a.go", "diff": "@@ -1 +1 @@\r\n-a\r\n+b\r\n"}]}
    )  # fmt: skip
    assert (task.excerpt, task.region, task.target) == ("a := 1\nb := 1\nc := 1\n", "b := 1\nc := 1\n", "b := 2\nc := 2\n")
    assert (task.cursor, task.rejected, task.history[0].diff) == ((11, 11), ("b\n",), "@@ -1 +1 @@\n-a\n+b\n")
    assert task.line_ends == "\r\n"
    assert EditTask.from_dict(task.to_dict()) == task


def test_lines_that_end_in_carriage_returns_alone_are_lines():
    task = EditTask.from_dict({**ROW, "excerpt": "a\rb\rc\r", "editable": [2, 6], "cursor": [4, 4], "target": "B\rC\r"})
    assert (task.excerpt, task.region, task.target, task.cursor) == ("a\nb\nc\n", "b\nc\n", "B\nC\n", (4, 4))
    assert task.line_ends == "\r"
    assert not task.cuts_lines
    assert EditTask.from_dict(task.to_dict()) == task


def test_a_carriage_return_among_line_feeds_is_a_character():
    task = EditTask.from_dict({**ROW, "excerpt": "a = '\r'\nb\n", "editable": [0, 8], "target": "c\n"})
    assert (task.region, task.line_ends) == ("a = '\r'\n", None)


def test_an_offset_between_carriage_return_and_line_feed_moves_before_the_line_feed():
    task = EditTask.from_dict({**ROW, "excerpt": "ab\r\ncd\r\n", "editable": [0, 3], "target": ""})
    assert task.region == "ab"


def test_a_byte_order_mark_is_taken_off_the_file_and_off_a_target_that_begins_there():
    task = EditTask.from_dict({**ROW, "excerpt": "\ufeffab\ncd\n", "editable": [0, 4], "target": "\ufeffx\n"})
    assert (task.excerpt, task.region, task.target, task.line_ends) == ("ab\ncd\n", "ab\n", "x\n", None)


@pytest.mark.parametrize("template", [Zeta1(), FivePart()])
def test_an_answer_with_line_feeds_to_a_task_with_carriage_returns_is_right(template):
    task = EditTask.from_dict({**ROW, "excerpt": "a := 1\r\nb := 1\r\n", "editable": [8, 16], "target": "b := 2\r\n"})
    answer = template.answer(task, task.target)
    assert "\r" not in answer
    assert template.parse(task, answer).region == "b := 2\n"


def test_a_text_without_carriage_returns_is_the_same_object():
    task = edit_task(1)
    assert task.with_line_feeds() is task


def test_a_rename_needs_the_path_before():
    with pytest.raises(DataError, match=r"the rename of a.go in the history has no old_path"):
        HistoryEvent("rename", "a.go")
