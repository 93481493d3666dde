"""Prepared task sets on disk."""

import hashlib
import json
from dataclasses import replace

import pytest
from parts import small_task

from gapo_cli.errors import DataError
from gapo_cli.records import Hint, HistoryEvent, TaskSet
from gapo_cli.tasks.sets.store import check_files, fingerprint_hash, load_split, read_manifest, save_task_set

SET = TaskSet(
    {
        "train": (small_task("t1", family="literal"), small_task("t2", target="a\n", family="call")),
        "eval": (small_task("e1", split="eval", family="literal"),),
    }
)


def test_what_is_saved_is_loaded_in_order(tmp_path):
    save_task_set(SET, tmp_path / "set", {"name": "made"})
    assert load_split(tmp_path / "set", "train") == SET.splits["train"]
    assert load_split(tmp_path / "set", "eval") == SET.splits["eval"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]  # no temporary folder is left


def test_every_field_of_a_task_is_stored(tmp_path):
    whole = replace(
        small_task("t1"),
        history=(HistoryEvent("edit", "b.py", "@@ -1 +1 @@\n-a\n+b\n", predicted=True),),
        hints=(Hint("related_file", "b.py", "b\n", rows=(0, 1), order=1, source="git_commit", file_rows=4),),
        alternatives=("c\n",),
        cursor_after=0,
    )
    still = replace(small_task("t2", target="a\n"), no_edit=True)
    save_task_set(TaskSet({"train": (whole, still)}), tmp_path / "set", {})
    assert load_split(tmp_path / "set", "train") == (whole, still)


def test_the_manifest_counts_and_hashes_each_split(tmp_path):
    folder = tmp_path / "set"
    manifest = save_task_set(SET, folder, {"name": "made"})
    assert manifest == read_manifest(folder)
    assert manifest["name"] == "made"
    assert manifest["splits"]["train"] == {
        "tasks": 2,
        "families": {"call": 1, "literal": 1},
        "languages": {"python": 2},
        "noop": 1,  # t2's target is its region
        "copied_from_history": 0,
        "sha256": hashlib.sha256((folder / "train.jsonl").read_bytes()).hexdigest(),
    }


def test_a_changed_file_is_found_by_its_hash_and_named(tmp_path):
    folder = tmp_path / "set"
    manifest = save_task_set(SET, folder, {})
    check_files(folder, manifest)
    with (folder / "train.jsonl").open("a") as stream:
        stream.write("\n")
    with pytest.raises(DataError, match=r"train\.jsonl: damaged"):
        check_files(folder, manifest)
    (folder / "train.jsonl").unlink()
    with pytest.raises(DataError, match=r"train\.jsonl: missing"):
        check_files(folder, manifest)


def test_saving_again_replaces_what_is_damaged_and_keeps_what_is_whole(tmp_path):
    folder = tmp_path / "set"
    save_task_set(SET, folder, {"seconds": 1})
    save_task_set(SET, folder, {"seconds": 2})
    assert read_manifest(folder)["seconds"] == 1  # the same set was there already, made by another process
    (folder / "eval.jsonl").write_text("")
    save_task_set(SET, folder, {"seconds": 3})
    assert read_manifest(folder)["seconds"] == 3
    assert load_split(folder, "eval") == SET.splits["eval"]


def test_an_unknown_split_is_answered_with_those_there_are(tmp_path):
    save_task_set(SET, tmp_path / "set", {})
    with pytest.raises(DataError, match=r"no split 'evla' \(train: 2 tasks, eval: 1 tasks\); did you mean eval\?"):
        load_split(tmp_path / "set", "evla")


def test_a_row_that_is_no_task_is_named_by_file_and_line(tmp_path):
    folder = tmp_path / "set"
    save_task_set(SET, folder, {})
    row = json.loads((folder / "eval.jsonl").read_text())
    (folder / "eval.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"editable": [0, 99]}) + "\n")
    with pytest.raises(DataError, match=r"eval\.jsonl:2: task e1: editable \[0, 99\)"):
        load_split(folder, "eval")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "missing"),
        ("{", "not JSON"),
        ("[]", "says nothing about splits"),
        ('{"splits": {}}', "was written by another version of gapo"),
    ],
)
def test_a_manifest_that_is_none_is_named(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=rf"manifest\.json: {reason}"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("split", ["../x", "", "all"])  # "all" means every split
def test_a_split_whose_name_cannot_be_one_is_refused(tmp_path, split):
    with pytest.raises(DataError, match=f"split '{split}'"):
        save_task_set(TaskSet({split: ()}), tmp_path / "set", {})
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_an_older_format_gives_way_though_its_tasks_are_the_same(tmp_path):
    folder = tmp_path / "set"
    save_task_set(SET, folder, {"seconds": 1})
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({"splits": manifest["splits"]}))
    save_task_set(SET, folder, {"seconds": 2})
    assert read_manifest(folder)["seconds"] == 2


def test_the_fingerprint_does_not_hang_on_the_order_of_its_keys():
    assert fingerprint_hash({"a": 1, "b": 2}) == fingerprint_hash({"b": 2, "a": 1}) != fingerprint_hash({"a": 1, "b": 3})
