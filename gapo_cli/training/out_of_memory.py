"""Memory that ran out, told in one sentence: what was being done then, and what to change, neither of which a library says."""

from __future__ import annotations

import contextlib
import gc
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Literal

import torch

from gapo_cli.errors import UserError, is_out_of_memory
from gapo_cli.quantities import GIBIBYTE

Phase = Literal["loading", "rollout", "update"]
Advise = Callable[[Phase], str]
"""What to change where memory runs out in that phase: a sentence."""

WHOSE = re.compile(r"rank \d+: ")
AMOUNT = re.compile(r"allocate (\d+(?:\.\d+)?) ?([KMGTP]iB|bytes)")


class OutOfMemory(UserError):
    """The memory of the device, or of the machine, ran out."""


def no_advice(phase: Phase) -> str:
    return "use smaller batches or a smaller model"


@contextlib.contextmanager
def memory_watched(doing: str, phase: Phase, advise: Advise) -> Iterator[None]:
    """Raises OutOfMemory where memory runs out within. `doing`: the words for what is done within. What the frames of the
    error hold is let go, so that a checkpoint can still be written."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        raise OutOfMemory(f"{_whose(str(error))}out of memory {doing}{_asked_for(str(error))}: {advise(phase)}") from error


def _whose(message: str) -> str:
    """The rank whose error it is, where that is another."""
    found = WHOSE.match(message)
    return found.group() if found else ""


def _asked_for(message: str) -> str:
    found = AMOUNT.search(message)
    if found is None:
        return ""
    amount, unit = found.groups()
    words = f"{int(amount) / GIBIBYTE:.2f} GiB" if unit == "bytes" else f"{amount} {unit}"
    return f" ({words} more were asked for)"
