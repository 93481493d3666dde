"""gapo prepare: a task set from its source, built once and kept under data/ by what it depends on."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError, PartError, first_line, name_of, part_at_work
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display, TaskSource
from gapo_cli.records import LINE_ENDS, EditTask, TaskSet
from gapo_cli.storage.files import check_writable
from gapo_cli.tasks.offsets import WORDS, fitting_unit
from gapo_cli.tasks.sets.dev import DEV, cut_dev
from gapo_cli.tasks.sets.duplicates import find_repeats
from gapo_cli.tasks.sets.store import ALL_SPLITS, check_files, fingerprint_hash, load_split, read_manifest, save_task_set

OWN_PACKAGE = __name__.split(".")[0]


@dataclass(frozen=True)
class Prepared:
    """Where a task set lies and its manifest; `built` False: it was there already."""

    folder: Path
    manifest: Mapping[str, Any]
    built: bool


def prepare(experiment: Experiment, display: Display) -> Prepared:
    """Makes sure that the task set of this experiment lies whole on disk; builds it where it is missing or damaged.
    Raises DataError where the source gives no task at all."""
    whose = f"data={experiment.data.name}"
    with part_at_work("data.source", experiment.source, whose):
        fingerprint = experiment.source.fingerprint()
        if not isinstance(fingerprint, Mapping):
            raise PartError(
                f"{whose}: data.source={name_of(experiment.source)}: fingerprint gives {type(fingerprint).__name__}; need a dict"
            )
    try:
        hashed = fingerprint_hash(fingerprint)
    except (TypeError, ValueError) as error:
        raise PartError(
            f"{whose}: data.source={name_of(experiment.source)}: its fingerprint holds what JSON cannot ({first_line(error)})"
        ) from error
    folder = experiment.data.directory / f"{experiment.data.name}-{hashed[:8]}"
    if folder.exists():
        try:
            manifest = read_manifest(folder)
            check_files(folder, manifest)
            return Prepared(folder, manifest, built=False)
        except DataError as error:
            display.say(f"{error}; building the task set again")
    check_writable(experiment.data.directory)
    start = time.monotonic()
    display.say(f"preparing data={experiment.data.name}")
    with part_at_work("data.source", experiment.source, whose):
        built = experiment.source.build(display.progress)
    check_kinds(experiment.source, built, whose)
    task_set = as_stored(built)
    for note in task_set.report.get("notes", ()):
        display.say(note)
    if not any(task_set.splits.values()):
        why = "the lines above say what became of its input" if task_set.report.get("notes") else "check its settings and input"
        raise DataError(f"data={experiment.data.name}: the source gave no task at all; {why}")
    repeats = find_repeats(task_set.splits, display.progress)
    for pair in repeats.across:
        if pair.exact:
            display.say(
                f"{'1 task' if pair.exact == 1 else f'{pair.exact} tasks'} of {pair.second} with an edit that {pair.first} has "
                f"word for word ({pair.examples[0][1]} repeats {pair.examples[0][0]})"
            )
    manifest = save_task_set(
        task_set,
        folder,
        {
            "name": experiment.data.name,
            "fingerprint": fingerprint,
            "seconds": round(time.monotonic() - start, 3),
            "repeats": [pair.to_dict() for pair in repeats.within],
            "overlaps": [pair.to_dict() for pair in repeats.across],
            "report": task_set.report,
        },
        display.progress,
    )
    return Prepared(folder, manifest, built=True)


def check_kinds(source: TaskSource, built: Any, whose: str) -> None:
    """Raises PartError where a source gives something else than a TaskSet of EditTasks, naming the split."""
    start = f"{whose}: data.source={name_of(source)}: gives"
    if not isinstance(built, TaskSet) or not isinstance(built.splits, Mapping):
        raise PartError(f"{start} {type(built).__name__}; need gapo_cli.records.TaskSet, with tasks by split")
    for split, tasks in built.splits.items():
        if not isinstance(split, str) or not isinstance(tasks, Sequence):
            raise PartError(f"{start} {type(tasks).__name__} for split {split}; need a tuple of tasks under a name")
        wrong = {type(task).__name__ for task in tasks if not isinstance(task, EditTask)}
        if wrong:
            raise PartError(f"{start} {', '.join(sorted(wrong))} in split {split}; need gapo_cli.records.EditTask")
        # the built-in sources make tasks of what they have checked
        if type(source).__module__.split(".")[0] != OWN_PACKAGE:
            for task in tasks:
                check_fields(task, f"{start} in split {split}")
            repeated = [name for name, count in Counter(task.id for task in tasks).items() if count > 1]
            if repeated:
                raise PartError(
                    f"{start} in split {split} {len(repeated)} ids more than once, as {repeated[0]!r}; need an id for each task"
                )
    check_report(built.report, start)


def check_fields(task: EditTask, start: str) -> None:
    """Raises PartError for a task that cannot be written to a file and read again: no class checks the kinds of its fields."""
    try:
        _ = task.with_line_feeds().cuts_lines  # offsets that are no whole numbers
        EditTask.from_dict(json.loads(json.dumps(task.to_dict(), ensure_ascii=False).encode()))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise PartError(f"{start} a task that cannot be kept, id {task.id!r} ({first_line(error)})") from error


def check_report(report: Any, start: str) -> None:
    """Raises PartError for a report that no file can hold, or whose notes are no texts."""
    try:
        json.dumps(report, ensure_ascii=False).encode()
    except (ValueError, TypeError) as error:
        raise PartError(f"{start} a report that JSON cannot hold ({first_line(error)})") from error
    notes = report.get("notes", ()) if isinstance(report, Mapping) else None
    if not isinstance(notes, list | tuple) or not all(isinstance(note, str) for note in notes):
        raise PartError(f"{start} a report of another kind; need a dict, with a list of texts as its notes")


def as_stored(task_set: TaskSet) -> TaskSet:
    """The set with "\n" at the end of every line, and with notes of what is unusual about its texts and regions."""
    splits = {split: tuple(task.with_line_feeds() for task in tasks) for split, tasks in task_set.splits.items()}
    tasks = [task for split in splits.values() for task in split]
    returns = {end: sum(task.line_ends == end for task in tasks) for end in LINE_ENDS}
    cut = [task for task in tasks if task.cuts_lines]
    notes = []
    for end, count in returns.items():
        if count:
            notes.append(
                f"{count} of {len(tasks)} tasks had lines that end in {end!r}; they are read, and compared, with '\\n'"
            )
    if cut:
        unit = fitting_unit(cut)
        hint = (
            f"most are whole lines if their offsets count {WORDS[unit]}: say data.offsets={unit}"
            if unit
            else "templates show whole lines, so check that this is meant"
        )
        notes.append(f"{len(cut)} of {len(tasks)} regions begin or end inside a line ({cut[0].id} is the first); {hint}")
    counts = {"line_ends_changed": sum(returns.values()), "regions_inside_lines": len(cut)}
    return TaskSet(splits, {**task_set.report, **counts, "notes": [*task_set.report.get("notes", ()), *notes]})


def has_dev(prepared: Prepared) -> bool:
    """Whether the data came with a dev split."""
    return bool(prepared.manifest["splits"].get(DEV, {}).get("tasks"))


def tasks_of_split(experiment: Experiment, prepared: Prepared, split: str) -> tuple[EditTask, ...]:
    """All of them; with `data.dev_share`, data without a dev split have it cut from the training split."""
    share, trained_on = experiment.data.dev_share, experiment.data.train_split
    if share is not None and split in (DEV, trained_on) and not has_dev(prepared):
        train, dev = cut_dev(load_split(prepared.folder, trained_on), share)
        return dev if split == DEV else train
    names = prepared.manifest["splits"] if split == ALL_SPLITS else (split,)
    return tuple(task for name in names for task in load_split(prepared.folder, name))


def load_tasks(experiment: Experiment, split: str, display: Display) -> tuple[EditTask, ...]:
    """The tasks of a split ("all": of every split), prepared when missing. With `data.limit`, so many of them, evenly
    spread over the split so that no family or file is left out. Raises DataError for an unknown or empty split."""
    prepared = prepare(experiment, display)
    tasks = tasks_of_split(experiment, prepared, split)
    if not tasks:
        others = ", ".join(name for name, counts in prepared.manifest["splits"].items() if counts["tasks"])
        raise DataError(f"data={experiment.data.name}: split '{split}' has no tasks; splits with tasks: {others}")
    limit = experiment.data.limit
    if limit is None or limit >= len(tasks):
        return tasks
    return tuple(tasks[index * len(tasks) // limit] for index in range(limit))
