"""A user's own tasks from JSON lines."""

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.errors import DataError, UserError
from gapo_cli.interfaces import no_progress
from gapo_cli.records import EditTask
from gapo_cli.tasks.jsonl import TASK_FIELDS, JsonLines

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
        (ROW | {"tests_": "x"}, r"field 'tests_' is unknown; did you mean tests\?"),
        (ROW | {"language": 3}, "field 'language' must be a string, got a number"),
        (ROW | {"path": None}, "field 'path' must be a string, got null"),
        (ROW | {"target": "\ud800"}, "field 'target' has half of a surrogate pair"),
        (ROW | {"editable": [0, 1.5]}, r"field 'editable' must be \[start, end\], two whole numbers"),
        (ROW | {"cursor": [0, True]}, r"field 'cursor' must be \[start, end\], two whole numbers"),
        (ROW | {"at_file_start": 1}, "field 'at_file_start' must be true or false, got a number"),
        (ROW | {"source": []}, "field 'source' must be an object, got an array"),
        (
            ROW | {"source": {"split": "s" * 101}},
            "field 'source.split' is 's+': a split name may have only letters, digits, - and _, at most 100",
        ),
        (ROW | {"line_ends": "zzz"}, r"field 'line_ends' must be .\\r\\n. or .\\r."),
        (
            ROW | {"hints": [{"kind": "note", "path": None, "text": "x", "rows": [5, 1]}]},
            r"field 'hints\[0\].rows' must be \[first, end\] with 0 <= first <= end, got \[5, 1\]",
        ),
        (ROW | {"alternatives": "x"}, "field 'alternatives' must be an array, got a string"),
        (
            ROW | {"history": [{"kind": "edit", "path": "a"}, {"kind": "edited", "path": "a"}]},
            r"field 'history\[1\].kind' must be edit or open or rename; did you mean edit\?",
        ),
        (ROW | {"history": [{"kind": "edit"}]}, r"field 'history\[0\].path' is missing"),
        (
            ROW | {"hints": [{"kind": "note", "path": None, "text": []}]},
            r"field 'hints\[0\].text' must be a string, got an array",
        ),
        (ROW | {"labels": {"family": 3}}, "field 'labels.family' must be a string, got a number"),
        (ROW | {"raw": {"a": [{"b": "\udfff"}]}}, "field 'raw.a.b' has half of a surrogate pair"),
        (ROW | {"raw": {"a": [float("nan")]}}, "field 'raw.a' holds NaN or an infinity, which JSON does not have"),
        (
            ROW | {"source": {"split": "../train"}},
            "field 'source.split' is '../train': a split name may have only letters, digits, - and _",
        ),
        (
            ROW | {"source": {"split": "all"}},
            "field 'source.split' is 'all': this name stands for all splits together",
        ),
        ('{"raw": ' + "[" * 100_000, "JSON that cannot be read"),
        ('{"raw": ' + "9" * 5000 + "}", "JSON that cannot be read"),
        (ROW | {"editable": [0, 50]}, "field 'editable' has the offset 50, and the excerpt has 4 characters$"),
        (ROW | {"source": "web"}, "field 'source' must be an object, got a string"),
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
    with pytest.raises(DataError, match=r"no \*\.jsonl, \*\.jsonl\.gz or \*\.parquet file in this folder"):
        build(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device; write its rows into a file first"):
        build(str(tmp_path / "pipe"))


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path):
    first = JsonLines(write(tmp_path / "a.jsonl", ROW)).fingerprint()
    (tmp_path / "other").mkdir()
    assert JsonLines(write(tmp_path / "other" / "a.jsonl", ROW)).fingerprint() == first
    assert JsonLines(write(tmp_path / "a.jsonl", ROW, ROW)).fingerprint() != first


def test_text_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(json.dumps(ROW).encode() + b'\n{"a": "\xff"}\n')
    with pytest.raises(DataError, match=r"mine\.jsonl:2: not UTF-8 \(byte 8 of the line\)"):
        build(str(path))


def test_a_byte_order_mark_before_the_first_row_is_no_part_of_it(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n" + json.dumps(ROW).encode())
    assert [task.id for task in build(str(path))["eval"]] == ["mine-1", "mine-2"]
    path.write_bytes(json.dumps(ROW).encode() + b"\n\xef\xbb\xbf" + json.dumps(ROW).encode())
    with pytest.raises(DataError, match=r"mine\.jsonl:2: not JSON"):
        build(str(path))


def test_bad_rows_can_be_skipped_and_are_counted_and_named(tmp_path):
    path = write(tmp_path / "mine.jsonl", "{oops", ROW, ROW | {"target": 3}, ROW | {"id": "mine-2"}, ROW)
    task_set = JsonLines(path, on_error="skip").build(no_progress)
    assert [task.id for task in task_set.splits["eval"]] == ["mine-2", "mine-5"]
    assert (task_set.report["rows"], task_set.report["skipped"]) == (5, 3)
    assert [sentence.removeprefix(f"{tmp_path}/") for sentence in task_set.report["skipped_rows"]] == [
        "mine.jsonl:1: not JSON (Expecting property name enclosed in double quotes, column 2)",
        "mine.jsonl:3: field 'target' must be a string, got a number",
        f"mine.jsonl:4: id 'mine-2' was used before, at {path}:2",
    ]
    (note,) = task_set.report["notes"]
    assert note.startswith(f"skipped 3 of 5 rows (data.on_error=skip); the first: {path}:1: not JSON")


def test_a_set_that_rows_were_left_out_of_is_another_one(tmp_path):
    path = write(tmp_path / "mine.jsonl", ROW)
    assert JsonLines(path, on_error="skip").fingerprint() != JsonLines(path).fingerprint()
    assert "notes" not in JsonLines(path, on_error="skip").build(no_progress).report


def test_another_way_to_take_errors_is_refused():
    with pytest.raises(UserError, match="data.on_error=ignore"):
        JsonLines("rows.jsonl", on_error="ignore")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*TASK_FIELDS, "kind", "text", "diff"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(TASK_FIELDS), JSON_VALUES, max_size=6))
def test_any_object_is_a_task_that_can_be_stored_or_has_a_reason(changes):
    source = JsonLines("mine.jsonl")
    try:
        task = source.read_task(Path("mine.jsonl"), 1, json.dumps(ROW | changes).encode(), None)
    except DataError:
        return
    stored = json.dumps(task.to_dict(), ensure_ascii=False).encode()
    assert json.dumps(EditTask.from_dict(json.loads(stored)).to_dict(), ensure_ascii=False).encode() == stored
    assert task.before + task.region + task.after == task.excerpt


@given(st.binary(max_size=60))
def test_any_bytes_are_a_row_or_have_a_reason(line):
    with contextlib.suppress(DataError):
        JsonLines("mine.jsonl").read_task(Path("mine.jsonl"), 1, line, None)
