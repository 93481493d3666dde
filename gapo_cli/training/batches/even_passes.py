"""Equally many passes on all ranks: those that share the weights wait for each other in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from gapo_cli.processes.ranks import Ranks

Batch = TypeVar("Batch")


def even_passes(batches: Sequence[Batch], nothing: Batch, ranks: Ranks, *, sharded: bool) -> Iterator[tuple[Batch, float]]:
    """The batches of this rank, and what each counts: 1 or, of `nothing`, which fills up where another rank that shares the weights
    has more of them, 0."""
    yield from ((batch, 1.0) for batch in batches)
    if sharded:
        yield from ((nothing, 0.0) for _ in range(ranks.greatest(len(batches)) - len(batches)))
