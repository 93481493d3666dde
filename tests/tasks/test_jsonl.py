"""A user's own tasks from JSON lines."""

import json

import pytest

from gapo_cli.errors import DataError
from gapo_cli.interfaces import no_progress
from gapo_cli.tasks.jsonl import JsonLines

ROW = {"language": "go", "path": "a.go", "excerpt": "a\nb\n", "editable": [0, 2], "target": "c\n"}


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def build(path):
    return JsonLines(path).build(no_progress).splits


def test_a_row_of_one_file_goes_to_the_split_it_names_else_to_eval(tmp_path):
    path = write(tmp_path / "mine.jsonl", ROW | {"id": "x", "source": {"dataset": "d", "split": "train"}}, ROW)
    splits = build(path)
    assert {split: [task.id for task in tasks] for split, tasks in splits.items()} == {"train": ["x"], "eval": ["mine-2"]}
    assert (splits["train"][0].source.dataset, splits["eval"][0].source.dataset) == ("d", "mine")
    assert splits["eval"][0].source.row == 2


def test_the_files_of_a_folder_are_its_splits(tmp_path):
    write(tmp_path / "train.jsonl", ROW, ROW)
    write(tmp_path / "eval.jsonl", ROW | {"source": {"dataset": "d", "split": "train"}})
    splits = build(str(tmp_path))
    assert {split: len(tasks) for split, tasks in splits.items()} == {"eval": 1, "train": 2}
    assert splits["eval"][0].source.split == "eval"  # the file's name wins over the row


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{oops", "not JSON"),
        ("[1]", "need a JSON object, got list"),
        ({key: value for key, value in ROW.items() if key != "target"}, "field 'target' is missing"),
        (ROW | {"colour": "red"}, "not an edit task: .*colour"),
        (ROW | {"language": 3}, "field 'language' must be a string, got int"),
        (ROW | {"editable": [0, 50]}, r"task mine-3: editable \[0, 50\) lies outside its excerpt of 4 characters"),
        (ROW | {"source": "web"}, "field 'source' must be an object, got str"),
        (ROW | {"id": "mine-1"}, "id 'mine-1' was used before, at .*mine.jsonl:1"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, reason):
    path = write(tmp_path / "mine.jsonl", ROW, "", row)  # the blank line counts, but is no row
    with pytest.raises(DataError, match=rf"mine\.jsonl:3: {reason}"):
        build(path)


def test_a_path_without_tasks_says_what_to_name(tmp_path):
    with pytest.raises(DataError, match="does not exist; name a JSON-lines file or a folder"):
        build(str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"no \*\.jsonl file in this folder"):
        build(str(tmp_path))


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path):
    first = JsonLines(write(tmp_path / "a.jsonl", ROW)).fingerprint()
    (tmp_path / "other").mkdir()
    assert JsonLines(write(tmp_path / "other" / "a.jsonl", ROW)).fingerprint() == first
    assert JsonLines(write(tmp_path / "a.jsonl", ROW, ROW)).fingerprint() != first
