"""gapo export-tasks: a prepared task set as example files that Zed's tools and `data=zed` read."""

from __future__ import annotations

import re
from pathlib import Path

from gapo_cli.config.checks import one_of, require
from gapo_cli.errors import DataError
from gapo_cli.interfaces import Display
from gapo_cli.records import EditTask
from gapo_cli.runs.claim import check_free
from gapo_cli.storage.files import write_text
from gapo_cli.tasks.sets.store import ALL_SPLITS, check_files, load_split, read_manifest
from gapo_cli.tasks.zed.clones import ADDRESSES, owner_and_name
from gapo_cli.tasks.zed.writing import FORMS, write_task


def export_tasks(source: Path, target: Path, form: str, split: str, repository: str | None, display: Display) -> list[Path]:
    """Writes the tasks of a prepared set's split ("all": of every one) into `target`, a new folder: one `SPLIT.jsonl` a split,
    or one file a task in a folder a split. `repository`: the address where their revisions are found. Raises UserError."""
    one_of("--form", form, tuple(FORMS))
    require(
        repository is None or owner_and_name(repository) is not None,
        f"--repository={repository}: need an address such as {ADDRESSES}",
    )
    check_free(target, str(target))
    manifest = read_manifest(source)
    check_files(source, manifest)
    written: list[Path] = []
    names = manifest["splits"] if split == ALL_SPLITS else (split,)
    chosen = {name: load_split(source, name) for name in names}
    total = sum(map(len, chosen.values()))
    if not total:
        raise DataError(f"{source}: split '{split}' has no tasks")
    done = 0
    for name, tasks in chosen.items():
        lines = []
        for number, task in enumerate(tasks):
            display.progress("writing tasks", done, total)
            done += 1
            lines.append(write_task(task, form, repository))
            if form != "jsonl":
                written.append(target / name / f"{number:05d}-{file_name(task)}.{form}")
                write_text(written[-1], lines[-1])
        if form == "jsonl" and lines:
            written.append(target / f"{name}.jsonl")
            write_text(written[-1], "".join(f"{line}\n" for line in lines))
    display.progress("writing tasks", total, total)
    display.say(f"{target}: {total:,} tasks as {form}")
    return written


def file_name(task: EditTask) -> str:
    """What a task's file is called, with its number in the split before it."""
    return re.sub(r"[^\w.-]+", "-", task.id, flags=re.ASCII).strip("-.")[:80] or "task"
