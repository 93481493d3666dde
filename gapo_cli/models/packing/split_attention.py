"""Attention of packed groups on a CPU, without a mask: three kinds of pairs, each by torch's own kernel, and no other.

Prompt tokens see the prompt before them; completion tokens see the whole prompt, and their own completion before them.
These two softmaxes are merged by their log-sum-exp, which also makes the backward pass a sum of three: what each part
passes back depends on the merged result alone (as in FlashAttention, arXiv:2205.14135, and ring attention,
arXiv:2310.01889). A dense mask makes the kernel compute every completion against every other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gapo_cli.models.packing.spans import Span

# scaled_dot_product_attention calls these on a CPU; they alone give the log-sum-exp, and take one
_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class SplitAttention:
    """The `shared_prefix` of one row of groups. `prompts`, `answers`: the places of each group's prompt and of the inputs of
    all its completions. `own` (completions, longest): the places of each completion's inputs, its last repeated as
    `padding` (completions, longest); completions of one token have none and are not there."""

    prompts: tuple[slice, ...]
    answers: tuple[slice, ...]
    own: torch.Tensor
    padding: torch.Tensor

    @classmethod
    def of(cls, spans: Sequence[Span], device: torch.device | str = "cpu") -> SplitAttention:
        completions = [place for span in spans for place in span.completions if len(place)]
        lengths = torch.tensor([len(place) for place in completions], dtype=torch.int64)[:, None]
        starts = torch.tensor([place.start for place in completions], dtype=torch.int64)[:, None]
        steps = torch.arange(max(map(len, completions), default=0))[None]
        return cls(
            prompts=tuple(slice(span.prompt.start, span.prompt.stop) for span in spans),
            answers=tuple(slice(span.prompt.stop, span.stop) for span in spans),
            own=starts + torch.minimum(steps, lengths - 1),
            padding=steps >= lengths,
        )

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu"):  # which does not know the kernel by this name
            query, key, value = (states.to(torch.get_autocast_dtype("cpu")) for states in (query, key, value))
        return _Attend.apply(query, key, value, self, scale).transpose(1, 2)

    def parts(self) -> Iterator[tuple[slice, slice, bool]]:
        """(queries, keys, causal) of what is computed slice by slice."""
        for prompt, answer in zip(self.prompts, self.answers, strict=True):
            yield prompt, prompt, True
            if answer.stop > answer.start:
                yield answer, prompt, False

    def completions(self, states: torch.Tensor) -> torch.Tensor:
        """(1, H, T, ...) → (completions, H, longest, ...)"""
        return states[0][:, self.own].transpose(0, 1)

    def in_row(self, states: torch.Tensor) -> torch.Tensor:
        """(completions, H, longest, ...) → (H, N, ...) without padding, in the order of `places`."""
        return states.transpose(0, 1)[:, ~self.padding]

    @property
    def places(self) -> torch.Tensor:
        """(N,) where in the row the inputs of completions stand."""
        return self.own[~self.padding]


class _Attend(torch.autograd.Function):
    """query (1, H, T, D), key and value (1, key-value heads, T, D) → (1, H, T, D)"""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, split: SplitAttention, scale: float
    ) -> torch.Tensor:
        output = torch.empty_like(query)
        # log of the sum of exp(score)
        weight = query.new_empty(query.shape[:-1], dtype=torch.promote_types(query.dtype, torch.float32))
        for queries, keys, causal in split.parts():
            output[:, :, queries], weight[:, :, queries] = _forward(
                query[:, :, queries], key[:, :, keys], value[:, :, keys], 0.0, causal, scale=scale
            )
        if len(split.own):
            places = split.places
            own, own_weight = map(split.in_row, _forward(*map(split.completions, (query, key, value)), 0.0, True, scale=scale))
            others, others_weight = output[0][:, places], weight[0][:, places]
            # exp(a) / (exp(a) + exp(b)) is sigmoid(a - b)
            share = torch.sigmoid(own_weight - others_weight)[..., None]
            output[0][:, places] = torch.lerp(others, own, share.to(own.dtype))
            weight[0][:, places] = torch.logaddexp(others_weight, own_weight)
        ctx.save_for_backward(query, key, value, output, weight)
        ctx.split, ctx.scale = split, scale
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        query, key, value, output, weight = ctx.saved_tensors
        split, scale = ctx.split, ctx.scale
        of_query, of_key, of_value = (torch.zeros_like(states) for states in (query, key, value))
        for queries, keys, causal in split.parts():
            by_query, by_key, by_value = _backward(
                gradient[:, :, queries], query[:, :, queries], key[:, :, keys], value[:, :, keys],
                output[:, :, queries], weight[:, :, queries], 0.0, causal, scale=scale,
            )  # fmt: skip
            of_query[:, :, queries] += by_query
            of_key[:, :, keys] += by_key
            of_value[:, :, keys] += by_value
        if len(split.own):
            of_own = split.completions(gradient).masked_fill(split.padding[:, None, :, None], 0)
            by_own = _backward(of_own, *map(split.completions, (query, key, value, output, weight)), 0.0, True, scale=scale)
            for total, part in zip((of_query, of_key, of_value), by_own, strict=True):
                total[0].index_add_(1, split.places, split.in_row(part))
        return of_query, of_key, of_value, None, None
