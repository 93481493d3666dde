"""Attention of packed groups on a GPU: torch's flex_attention, compiled, whose block mask skips what no token may look at.

arXiv:2412.05496. A dense mask would cost the fast kernels and T x T memory; here a block of 128 x 128 that is all masked is
not computed, and only those that are masked in part ask the rule for each pair.

The kernel is compiled for the kinds of rows that come, and torch refuses the ninth kind. So all rows are of one kind: filled up
to whole blocks, at least two of them, with tokens that nothing looks at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from gapo_cli.models.packing.spans import PROMPT_SEGMENT, Span, segments_of

BLOCK = 128
FEWEST_BLOCKS = 2
"""torch compiles a size of 1 as a kind of its own."""


@dataclass(frozen=True)
class FlexAttention:
    """The `shared_prefix` of one row of groups."""

    block_mask: BlockMask

    @classmethod
    def of(cls, spans: Sequence[Span], device: torch.device) -> FlexAttention:
        width = max(FEWEST_BLOCKS, -(-spans[-1].stop // BLOCK)) * BLOCK
        groups, segments = (rows[0] for rows in segments_of([spans], width))
        groups[spans[-1].stop :] = len(spans)  # what fills the row up is a group of its own, after all others
        in_part, in_full = (_listed(blocks.to(device)) for blocks in _blocks(groups, segments))
        groups, segments = groups.to(device), segments.to(device)

        def may_look_at(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            same_part = (segments[key] == PROMPT_SEGMENT) | (segments[query] == segments[key])
            return (query >= key) & (groups[query] == groups[key]) & same_part

        return cls(BlockMask.from_kv_blocks(*in_part, *in_full, BLOCK, may_look_at, (width, width)))

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        kernel = flex_attention if query.device.type == "cpu" else _compiled()
        return self.attend_by(kernel, query, key, value, scale)

    def attend_by(
        self, kernel: Callable[..., torch.Tensor], query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """`attend` by torch's `flex_attention` or what is compiled of it."""
        tokens, beyond = query.shape[2], self.block_mask.seq_lengths[0] - query.shape[2]
        # under autocast rotated queries and keys are float32 beside values in bfloat16; a kernel wants one dtype
        states = (one.to(value.dtype) for one in (query, key, value))
        # contiguous: what is filled up is, and for other strides the kernel would be compiled again
        filled = (torch.nn.functional.pad(one, (0, 0, 0, beyond)).contiguous() for one in states)
        output = kernel(*filled, block_mask=self.block_mask, scale=scale, enable_gqa=True)
        return output[:, :, :tokens].transpose(1, 2)


def _blocks(groups: torch.Tensor, segments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, N) bool each, N = the row's blocks, [queries, keys]: where a pair may look at the other and the rule must be asked, and
    where all pairs may. torch's create_block_mask finds the same out from the T x T mask, a GiB for 32,768 tokens; a block's
    first and last part are enough, since a group and a segment each lie in one piece. A few blocks at the bounds of groups are
    asked in vain."""
    starts = (groups.diff() != 0) | (segments.diff() != 0)
    parts = torch.nn.functional.pad(starts.cumsum(0), (1, 0))
    group, part, segment = (one.view(-1, BLOCK) for one in (groups, parts, segments))
    prompt = segment == PROMPT_SEGMENT
    (group, last_group), (part, last_part) = (one.aminmax(dim=1) for one in (group, part))

    def meet(first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])

    def one_and_same(first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        whole = first == last
        return whole[:, None] & whole[None, :] & (first[:, None] == first[None, :])

    some = (meet(group, last_group) & (prompt.any(1)[None, :] | meet(part, last_part))).tril()
    every = (one_and_same(group, last_group) & (prompt.all(1)[None, :] | one_and_same(part, last_part))).tril(-1)
    return some & ~every, every


def _listed(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As a BlockMask has them: (1, 1, N) how many of a row are true, (1, 1, N, N) the places of these and then of the others; int32."""
    places = blocks.int().argsort(dim=1, descending=True, stable=True)
    return blocks.sum(1).int()[None, None], places.int()[None, None]


@functools.cache
def _compiled() -> Callable[..., torch.Tensor]:
    # fullgraph: what cannot be compiled is an error, where torch would go on with the scores of all pairs in memory
    return torch.compile(flex_attention, fullgraph=True)
