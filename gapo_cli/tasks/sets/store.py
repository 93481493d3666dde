"""Prepared task sets on disk: one JSON-lines file a split and a manifest with their hashes.

A set's folder is whole or not there; later damage is found by the hash and named.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError, did_you_mean
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.records import EditTask, TaskSet
from gapo_cli.storage.files import file_hash, read_jsonl, storage_errors, write_json, write_jsonl
from gapo_cli.storage.whole_folder import whole_folder

MANIFEST = "manifest.json"
FORMAT = 2
"""Of a prepared set's files. Raised with every change that makes older sets unreadable, so that they are built again."""
ALL_SPLITS = "all"
"""Stands for all splits together where a split is named."""
SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
LONGEST_NAME = 100
"""A file is called by its split, and file systems end at 255 bytes."""


def fingerprint_hash(fingerprint: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a source's fingerprint; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def count_tasks(tasks: Sequence[EditTask]) -> dict[str, Any]:
    """What a manifest says about one split: tasks in all, by family and by language, those that change nothing, and those that copy
    from their history."""
    return {
        "tasks": len(tasks),
        "families": dict(sorted(Counter(task.labels.get("family", "") for task in tasks).items())),
        "languages": dict(sorted(Counter(task.language for task in tasks).items())),
        "noop": sum(task.is_noop for task in tasks),
        "copied_from_history": sum(task.copied_from_history for task in tasks),
    }


def split_name_error(split: str) -> str | None:
    """Why this can be no split's name, or None."""
    if not SPLIT_NAME.fullmatch(split) or len(split) > LONGEST_NAME:
        return (
            f"a split name may have only letters, digits, - and _, at most {LONGEST_NAME}, and begins with a letter or a digit"
        )
    return "this name stands for all splits together, so no split may have it" if split == ALL_SPLITS else None


def save_task_set(
    task_set: TaskSet, folder: Path, manifest: Mapping[str, Any], progress: Progress = no_progress
) -> dict[str, Any]:
    """Writes the set and its manifest (`manifest` plus the counts and hash of every split) and returns that manifest.
    What stood in `folder` before is replaced, unless it is the same set. Raises DataError for a split name that is no file
    name, StorageError for what cannot be written."""
    splits: dict[str, Any] = {}
    whole = {"format": FORMAT, **manifest, "splits": splits}
    total = sum(map(len, task_set.splits.values()))
    done = itertools.count()

    def row(task: EditTask) -> dict[str, Any]:
        progress("writing tasks", next(done), total)
        return task.to_dict()

    with storage_errors(folder), whole_folder(folder, as_good=lambda there: _has(there, whole)) as written:
        for split, tasks in task_set.splits.items():
            if wrong := split_name_error(split):
                raise DataError(f"split '{split}': {wrong}")
            path = written / f"{split}.jsonl"
            write_jsonl(path, map(row, tasks))
            splits[split] = count_tasks(tasks) | {"sha256": file_hash(path)}
        write_json(written / MANIFEST, whole)
        progress("writing tasks", total, total)
    return whole


def _has(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether the set in `folder` can be read and has the files that `manifest` tells of."""
    try:
        read_manifest(folder)
        check_files(folder, manifest)
    except DataError:
        return False
    return True


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises DataError where it is missing, no manifest or of another format."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; `gapo prepare` writes it") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON; `gapo prepare` writes it again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("splits"), dict):
        raise DataError(f"{path}: says nothing about splits; `gapo prepare` writes it again")
    if manifest.get("format") != FORMAT:
        raise DataError(f"{path}: was written by another version of gapo; `gapo prepare` writes it again")
    return manifest


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises DataError naming the first split file that is missing or is not what was written."""
    for split, counts in manifest["splits"].items():
        path = folder / f"{split}.jsonl"
        if not path.is_file():
            raise DataError(f"{path}: missing")
        if file_hash(path) != counts["sha256"]:
            raise DataError(f"{path}: damaged (its hash is not the manifest's)")


def load_split(folder: Path, split: str) -> tuple[EditTask, ...]:
    """The tasks of one split, in the order they were written. Raises DataError for a split that the set does not have
    and for rows that are no tasks, naming file and line."""
    counts = read_manifest(folder)["splits"]
    if split not in counts:
        has = ", ".join(f"{name}: {entry['tasks']} tasks" for name, entry in counts.items()) or "no splits at all"
        near = did_you_mean(split, counts)
        raise DataError(f"{folder}: has no split '{split}' ({has}){near and '; ' + near}")
    tasks = []
    path = folder / f"{split}.jsonl"
    for number, row in read_jsonl(path):
        try:
            tasks.append(EditTask.from_dict(row))
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from error
    return tuple(tasks)
