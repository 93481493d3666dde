"""Attention of packed groups on a GPU: torch's flex_attention, compiled, whose block mask skips what no token may look at.

arXiv:2412.05496. A dense mask would cost the fast kernels and T x T memory; here a block of 128 x 128 that is all masked is
not computed, and only those that are masked in part ask the rule for each pair.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from gapo_cli.models.spans import PROMPT_SEGMENT, Span, segments_of


@dataclass(frozen=True)
class FlexAttention:
    """The `shared_prefix` of one row of groups."""

    block_mask: BlockMask

    @classmethod
    def of(cls, spans: Sequence[Span], device: torch.device) -> FlexAttention:
        width = spans[-1].stop
        groups, segments = (rows[0].to(device) for rows in segments_of([spans], width))

        def may_look_at(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            same_part = (segments[key] == PROMPT_SEGMENT) | (segments[query] == segments[key])
            return (query >= key) & (groups[query] == groups[key]) & same_part

        return cls(create_block_mask(may_look_at, None, None, width, width, device=device))

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        attend = flex_attention if query.device.type == "cpu" else _compiled()
        return attend(query, key, value, block_mask=self.block_mask, scale=scale, enable_gqa=True).transpose(1, 2)


@functools.cache
def _compiled() -> Callable[..., torch.Tensor]:
    return torch.compile(flex_attention)
