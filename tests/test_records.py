"""What an EditTask makes of texts as people have them."""

import pytest
from parts import edit_task

from gapo_cli.errors import DataError
from gapo_cli.prompts.five_part import FivePart
from gapo_cli.prompts.zeta1 import Zeta1
from gapo_cli.records import EditTask, HistoryEvent

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
