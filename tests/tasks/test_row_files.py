"""Files of rows as people have them."""

import gzip
import json
import pickle

import pandas as pd
import pytest

from gapo_cli.errors import DataError
from gapo_cli.interfaces import no_progress
from gapo_cli.tasks.jsonl import JsonLines

ROW = {"language": "go", "path": "a.go", "excerpt": "a := 1\nb := 1\n", "editable": [7, 14], "target": "b := 2\n"}
LINE = json.dumps(ROW) + "\n"


def tasks_in(path, **settings):
    return JsonLines(str(path), **settings).build(no_progress).splits


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINE),
        ("a.jsonl.gz", gzip.compress(LINE.encode(), mtime=0)),
        ("a.jsonl", gzip.compress(LINE.encode(), mtime=0)),  # the content tells, not the name
        ("a.json", json.dumps([ROW], indent=2)),
        ("a.json", f"[{LINE.strip()}]"),
        ("a.jsonl", "\ufeff" + LINE),
        ("a.jsonl", LINE.encode("utf-16")),
        ("a.jsonl", b"\xfe\xff" + LINE.encode("utf-16-be")),
    ],
)
def test_rows_are_read_from_every_kind_of_file(tmp_path, name, content):
    (task,) = tasks_in(write(tmp_path / name, content))["eval"]
    assert (task.region, task.target, task.source.dataset) == ("b := 1\n", "b := 2\n", "a")


def test_rows_are_read_from_parquet_and_columns_that_are_empty_count_as_left_out(tmp_path):
    pd.DataFrame([{**ROW, "system": None}]).to_parquet(tmp_path / "train.parquet")
    (task,) = tasks_in(tmp_path)["train"]
    assert (task.target, task.system) == ("b := 2\n", None)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\x03\x04rest", "is a zip archive; unpack it"),
        (b"\x28\xb5\x2f\xfdrest", "is compressed by zstd"),
        (b"\x00\x05\x16\x07rest", "is a Mac's resource file"),
        (gzip.compress(LINE.encode(), mtime=0)[:-12], "is a gzip file that is damaged or cut short"),
        (b"PAR1rest", "is a parquet file that is damaged or cut short"),
        (b"\xff\xfe\x00\xd8a\x00", "is UTF-16 by its mark, and damaged"),
        (LINE.encode("utf-16-le"), "holds zero bytes, as UTF-16 without its mark does; save it as UTF-8"),
        (LINE.encode("utf-16-be"), "holds zero bytes, as UTF-16 without its mark does; save it as UTF-8"),
        (
            gzip.compress(b"rows.jsonl\0\0\0 ustar", mtime=0),
            "holds zero bytes, so it is no text; unpack it if it is an archive",
        ),
        (pickle.dumps([ROW]), "is a pickle of Python, which is never read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS .*; fetch it by git lfs pull"),
        (b"<!DOCTYPE html>", "is a web page; download the file that it shows"),
        (b"[{}, ", "begins with \\[ but is not a valid JSON array"),
        (b"[" * 100_000, "begins with \\[ but is not a valid JSON array"),
        (json.dumps(ROW, indent=2), "holds a JSON object over several lines; write each row on one line"),
        (LINE.replace("\n", "\r") * 2, r"has lines that end in \\r, as on an old Mac; save it with \\n"),
        (b"[\n{}, 3]", "element 2 of the array must be a JSON object, got int"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path, content, sentence):
    with pytest.raises(DataError, match=f"a.jsonl: {sentence}"):
        tasks_in(write(tmp_path / "a.jsonl", content))


def test_a_table_of_separated_values_is_named_by_its_suffix(tmp_path):
    with pytest.raises(DataError, match="a.csv: is a table of separated values; write its rows as JSON lines or parquet"):
        tasks_in(write(tmp_path / "a.csv", "id,excerpt\n1,x\n"))


def test_hidden_files_of_a_folder_are_no_splits_and_are_told(tmp_path):
    write(tmp_path / "train.jsonl", LINE)
    write(tmp_path / "._train.jsonl", b"\x00\x05\x16\x07rest")
    built = JsonLines(str(tmp_path)).build(no_progress)
    assert list(built.splits) == ["train"]
    assert built.report["notes"] == ["left out hidden files: ._train.jsonl"]


def test_a_file_whose_name_cannot_be_a_split_is_named_as_the_trouble(tmp_path):
    write(tmp_path / "my tasks.jsonl", LINE)
    with pytest.raises(
        DataError,
        match=r"my tasks.jsonl: a file in a folder is named by its split, here 'my tasks': a split name may .*; rename it",
    ):
        tasks_in(tmp_path)


def test_a_rename_without_its_old_path_and_a_diff_that_is_none_are_refused_with_file_and_line(tmp_path):
    for event, sentence in (
        ({"kind": "rename", "path": "a.go"}, r"field 'history\[0\].old_path' is missing"),
        ({"kind": "edit", "path": "a.go", "diff": "no diff at all"}, r"field 'history\[0\].diff' is no unified diff"),
    ):
        path = write(tmp_path / "a.jsonl", json.dumps({**ROW, "history": [event]}))
        with pytest.raises(DataError, match=f"a.jsonl:1: {sentence}"):
            tasks_in(path)
