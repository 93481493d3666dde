"""KL between two next-token distributions over the whole vocabulary, token by token, with no more than a chunk's logits in memory.

As in `chunked_logprobs`: the forward pass keeps no logits, the backward pass makes them again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gapo_cli.models.packing.chunked_logprobs import chunk_tokens

Head = Callable[[torch.Tensor], torch.Tensor]
"""Hidden states (N, hidden size) → logits (N, vocabulary)."""
LOGITS_OF_BOTH = 2
"""Logits of two distributions stand beside each other: as many as twice the tokens."""


def token_divergence(
    first_head: Head, first: torch.Tensor, head: torch.nn.Module, second: torch.Tensor, temperature: float
) -> torch.Tensor:
    """KL(first ‖ second) in nats for each of N tokens, (N,) float32, both at `temperature`. `first`, `second`: their hidden states
    (N, hidden size), with gradients where they have any. `second` is read by `head`, whose parameters get a gradient; `first` by
    `first_head`: the same head, or one whose parameters are not trained. `backward()` leaves the head's gradients in its
    parameters, as ever; torch.autograd.grad does not see them where there are many tokens."""
    size = chunk_tokens("auto", LOGITS_OF_BOTH * len(second), head.weight.shape[0]) // LOGITS_OF_BOTH
    if size:
        return _Chunked.apply(first_head, head, first, second, temperature, size, *head.parameters())
    return divergence(first_head(first), head(second), temperature)


def divergence(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """The same of logits (N, vocabulary)."""
    logp = torch.log_softmax(first.float() / temperature, dim=-1)
    logq = torch.log_softmax(second.float() / temperature, dim=-1)
    difference = logq - logp
    # p (e^d - 1 - d) adds up to KL too, for p and q add up to 1, and what is left of two like distributions is not lost in rounding
    near = difference.clamp(-1, 1)
    terms = torch.where(
        difference.abs() < 1,
        logp.exp() * (near.expm1() - near),
        logq.exp() - logp.exp() * (1 + difference),
    )
    return terms.sum(-1)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        first_head: Head,
        head: torch.nn.Module,
        first: torch.Tensor,
        second: torch.Tensor,
        temperature: float,
        chunk: int,
        *parameters: torch.nn.Parameter,
    ) -> torch.Tensor:
        ctx.save_for_backward(first, second)
        ctx.call = (first_head, head, temperature, chunk)
        device = second.device.type
        ctx.autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        return torch.cat(
            [
                divergence(first_head(p), head(q), temperature)
                for p, q in zip(first.split(chunk), second.split(chunk), strict=True)
            ]
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        both = ctx.saved_tensors
        first_head, head, temperature, chunk = ctx.call
        wanted = ctx.needs_input_grad[2:4]
        found = [torch.zeros_like(states) for states in both]
        with torch.enable_grad(), torch.autocast(*ctx.autocast):
            for start in range(0, len(gradient), chunk):
                part = slice(start, start + chunk)
                states = [one[part].detach().requires_grad_(wants) for one, wants in zip(both, wanted, strict=True)]
                values = divergence(first_head(states[0]), head(states[1]), temperature)
                torch.autograd.backward(values, gradient[part])
                for total, one in zip(found, states, strict=True):
                    if one.grad is not None:
                        total[part] = one.grad
        of_states = (one if wants else None for one, wants in zip(found, wanted, strict=True))
        return None, None, *of_states, *(None for _ in ctx.needs_input_grad[4:])
