"""A dev split cut from the training split, for data that come without one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gapo_cli.records import EditTask

DEV = "dev"


def cut_dev(tasks: Sequence[EditTask], share: float) -> tuple[tuple[EditTask, ...], tuple[EditTask, ...]]:
    """(train, dev): all tasks of a file are on one side, by the hash of repository and path, about `share` of the files in dev. The
    same cut for the same names on every machine."""
    dev = [position(task) < share for task in tasks]
    return (
        tuple(task for task, is_dev in zip(tasks, dev, strict=True) if not is_dev),
        tuple(task for task, is_dev in zip(tasks, dev, strict=True) if is_dev),
    )


def position(task: EditTask) -> float:
    """In [0, 1), the same for all tasks of a file."""
    named = f"{task.source.repo or ''}\n{task.path}"
    return int(hashlib.sha256(named.encode()).hexdigest()[:8], 16) / 2**32
