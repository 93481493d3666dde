"""Equally many passes on all ranks: those that share the weights wait for each other in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from gapo_cli.processes.ranks import Ranks

Batch = TypeVar("Batch")


def even_passes(
    batches: Sequence[Batch], nothing: Callable[[], Sequence[Batch]], ranks: Ranks, *, sharded: bool
) -> Iterator[tuple[Batch, float]]:
    """The batches of this rank, and what each counts: 1 or, of those that fill up where another rank that shares the weights has more,
    0. `nothing` makes one to fill up with, alone in a sequence."""
    yield from ((batch, 1.0) for batch in batches)
    missing = ranks.greatest(len(batches)) - len(batches) if sharded else 0
    if missing:
        (filler,) = nothing()
        yield from ((filler, 0.0) for _ in range(missing))
