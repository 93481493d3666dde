"""Tokens that a run computes: what learners of different kinds are compared by at equal cost, and what `trainer.budget_tokens`
ends a run by.

A token counts once for each pass through a model: where it is sampled, read as a prompt, compared with the starting model or valued
by a critic. In a pass that learns it counts three times, for the backward pass makes two matrix products where the forward pass makes
one. Padding counts. Evaluations do not, nor do the passes that loss terms make, nor what gradient checkpointing computes again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gapo_cli.processes.ranks import Ranks

if TYPE_CHECKING:  # gapo plan counts without torch
    from gapo_cli.models.packing.layout import TokenBatch
    from gapo_cli.records import Group

LEARNT_FROM = 3
"""What a token of a forward and backward pass counts."""


@dataclass
class TokenCount:
    """`tokens`: computed so far."""

    tokens: int = 0

    @contextlib.contextmanager
    def added_up(self, ranks: Ranks) -> Iterator[None]:
        """Inside, each rank counts its own passes; afterwards all have those of all."""
        before = self.tokens
        yield
        self.tokens = before + ranks.total(self.tokens - before)

    def passed(self, batch: TokenBatch) -> None:
        """A forward pass alone."""
        self.tokens += batch.input_ids.numel()

    def learnt(self, batch: TokenBatch) -> None:
        self.tokens += LEARNT_FROM * batch.input_ids.numel()

    def sampled(self, groups: Sequence[Group]) -> None:
        """Each prompt once, and its answers token by token."""
        self.tokens += sum(len(group.prompt_token_ids) + sum(one.length for one in group.completions) for group in groups)
