"""A perturbation at work: every call of one goes through here, with its own draw for each task, and what it gives is checked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from gapo_cli.config.checks import is_text
from gapo_cli.errors import PartError, name_of, part_at_work
from gapo_cli.interfaces import Perturbation
from gapo_cli.records import DoesNotApply, EditTask, Perturbed

NOTHING_CHANGES = DoesNotApply("the draw changes nothing")


def perturb(name: str, perturbation: Perturbation, task: EditTask, seed: int) -> Perturbed | DoesNotApply:
    """The changed task. It depends on the task, on `seed` and on the perturbation's `name`, and on no other task. What the source of
    the task kept of its own wording (`raw`) is left out: a template could show it instead of what was changed. Raises PartError
    where the perturbation fails, or gives something whose target does not read back as the task's own; so does its `restored`, of
    any answer that it fails on."""
    whom = f"task {task.id}"
    with part_at_work("perturbation", perturbation, whom):
        found = perturbation(task, random.Random(f"{seed} {name} {task.id}"))
    if isinstance(found, DoesNotApply):
        if not is_text(found.reason):  # reasons are counted and written
            raise _failure(name, perturbation, whom, f"gives a reason of type {type(found.reason).__name__}; need a str")
        return found
    if not isinstance(found, Perturbed) or not isinstance(found.task, EditTask):
        raise _failure(
            name, perturbation, whom, f"gives {type(found).__name__}; need gapo_cli.records.Perturbed or DoesNotApply"
        )
    if found.task.id != task.id:
        raise _failure(name, perturbation, whom, f"gives task {found.task.id}; need a task with the same id")
    restored = partial(_restored, name, perturbation, task.id, found.restored)
    if tuple(map(restored, found.task.targets)) != task.targets:
        raise _failure(name, perturbation, whom, "changes the answer: its targets do not read back as those of the task")
    if found.task == task:
        return NOTHING_CHANGES
    return Perturbed(replace(found.task, raw=None), restored)


def _restored(name: str, perturbation: Perturbation, task_id: str, restored: Callable[[str], Any], text: str) -> str | None:
    """An answer to the changed task read as one to the task itself, None where it is none. Raises PartError."""
    whom = f"task {task_id}"
    with part_at_work("perturbation", perturbation, whom):
        found = restored(text)
    if found is not None and not is_text(found):
        given = "a str that UTF-8 cannot hold" if isinstance(found, str) else type(found).__name__
        raise _failure(name, perturbation, whom, f"reads an answer back as {given}; need a str that UTF-8 can hold, or None")
    return found


def _failure(name: str, perturbation: Perturbation, whom: str, what: str) -> PartError:
    return PartError(f"{whom}: perturbation.{name}={name_of(perturbation)}: {what}")
