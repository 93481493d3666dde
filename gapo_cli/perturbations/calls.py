"""A perturbation at work: every call of one goes through here, with its own draw for each task, and what it gives is checked."""

from __future__ import annotations

import random
from dataclasses import replace

from gapo_cli.errors import PartError, name_of, part_at_work
from gapo_cli.interfaces import Perturbation
from gapo_cli.records import DoesNotApply, EditTask, Perturbed

NOTHING_CHANGES = DoesNotApply("the draw changes nothing")


def perturb(name: str, perturbation: Perturbation, task: EditTask, seed: int) -> Perturbed | DoesNotApply:
    """The changed task. It depends on the task, on `seed` and on the perturbation's `name`, and on no other task. What the source of
    the task kept of its own wording (`raw`) is left out: a template could show it instead of what was changed. Raises PartError
    where the perturbation fails, or gives something whose target does not read back as the task's own."""
    whom = f"task {task.id}"
    with part_at_work("perturbation", perturbation, whom):
        found = perturbation(task, random.Random(f"{seed} {name} {task.id}"))
    if isinstance(found, DoesNotApply):
        return found
    if not isinstance(found, Perturbed) or not isinstance(found.task, EditTask):
        raise _failure(
            name, perturbation, whom, f"gives {type(found).__name__}; need gapo_cli.records.Perturbed or DoesNotApply"
        )
    if found.task.id != task.id:
        raise _failure(name, perturbation, whom, f"gives task {found.task.id}; need a task with the same id")
    with part_at_work("perturbation", perturbation, whom):
        restored = tuple(found.restored(target) for target in found.task.targets)
    if restored != task.targets:
        raise _failure(name, perturbation, whom, "changes the answer: its targets do not read back as those of the task")
    if found.task == task:
        return NOTHING_CHANGES
    return replace(found, task=replace(found.task, raw=None))


def _failure(name: str, perturbation: Perturbation, whom: str, what: str) -> PartError:
    return PartError(f"{whom}: perturbation.{name}={name_of(perturbation)}: {what}")
