"""Where groups lie in a row of tokens, and which token may look at which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

PADDING_SEGMENT = -1
PROMPT_SEGMENT = 0


@dataclass(frozen=True, slots=True)
class Span:
    """Where a group lies in its row: the places of its prompt, and after it those of the inputs of each completion."""

    prompt: range
    completions: tuple[range, ...]

    @property
    def stop(self) -> int:
        return self.completions[-1].stop if self.completions else self.prompt.stop


def segments_of(rows: Sequence[Sequence[Span]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, width) int64 each: which group of its row a token is of; and in the group 0 for the prompt, n for completion n.
    PADDING_SEGMENT in both where it is of none."""
    groups = torch.full((len(rows), width), PADDING_SEGMENT, dtype=torch.int64)
    segments = groups.clone()
    for row, spans in enumerate(rows):
        for group, span in enumerate(spans):
            groups[row, span.prompt.start : span.stop] = group
            for number, places in enumerate((span.prompt, *span.completions)):
                segments[row, places.start : places.stop] = number
    return groups, segments


def dense_mask(rows: Sequence[Sequence[Span]], width: int) -> torch.Tensor:
    """(R, 1, width, width) bool, True = may look at: an earlier or the same place, of the group's prompt or of the same
    completion. Padding looks at padding, so that no query is without a key (softmax over nothing is NaN)."""
    groups, segments = segments_of(rows, width)
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    same_group = groups[:, :, None] == groups[:, None, :]
    query, key = segments[:, :, None], segments[:, None, :]
    return (causal & same_group & ((key == PROMPT_SEGMENT) | (query == key)))[:, None]
