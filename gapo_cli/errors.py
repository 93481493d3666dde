"""The mistakes a user can make: one sentence each, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A wrong value, file or combination. The message names the value, what is allowed and what to do."""


class DataError(UserError):
    """Bad rows or missing task sets. The message names the file and, where there is one, the line."""


class CheckpointError(UserError):
    """A checkpoint or model folder that is missing, damaged or does not fit."""


class StorageError(UserError):
    """A file or folder that cannot be written: a full disk, a read-only folder, another process at work there."""


class NotFiniteError(UserError):
    """A model whose outputs are no numbers any more: nothing can be learnt from it, and no checkpoint is made of it."""


NOT_FINITE = (
    "the model's outputs are not finite: an update has made its weights diverge; lower trainer.optimizer.learning_rate, "
    "and go back to an earlier checkpoint"
)


def first_line(error: BaseException) -> str:
    """What an error says in one line, its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """`did you mean gapo?` for the nearest choice, or "" where none is near."""
    near = difflib.get_close_matches(value, list(choices), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else ""
