"""Log-probabilities of tokens without the logits of all of them in memory: chunk by chunk, and again in the backward pass.

With V the vocabulary, N tokens take N·V floats several times over, more than the rest of the pass where V is 150,000. Here
only one chunk's logits exist at a time: the forward pass keeps none, the backward pass recomputes them.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

Entropy = Literal["none", "value", "gradient"]
"""Whether a distribution's entropy is computed, and whether with a gradient."""

WHOLE_ELEMENTS = 2**26
"""Logits up to so many (256 MiB in float32) are made in one piece: that is faster, and the rest of the pass is larger."""
CHUNK_ELEMENTS = 2**25
"""Beyond it a chunk has at most so many. Smaller ones save little and cost a pass over the head's gradient each."""


def token_distribution(
    head: torch.nn.Module, hidden: torch.Tensor, labels: torch.Tensor, temperature: float, entropy: Entropy
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """hidden (N, hidden size), labels (N,) → their log-probabilities (N,) and the entropies (N,) or None, float32. Softmax
    runs in float32 whatever the head's precision."""
    distribution = torch.log_softmax(head(hidden).float() / temperature, dim=-1)  # (N, vocabulary)
    logprobs = distribution.gather(-1, labels[:, None]).squeeze(-1)
    if entropy == "none":
        return logprobs, None
    with torch.set_grad_enabled(entropy == "gradient" and torch.is_grad_enabled()):
        return logprobs, -(distribution.exp() * distribution).sum(-1)


def chunked_distribution(
    head: torch.nn.Module, hidden: torch.Tensor, labels: torch.Tensor, temperature: float, entropy: Entropy, chunk: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `token_distribution`, `chunk` tokens at a time. `backward()` leaves the head's gradients in its parameters, as
    ever; torch.autograd.grad does not see them."""
    # the parameters are arguments for autograd to know that there is something to compute even where `hidden` has no gradient
    return _Chunked.apply(head, hidden, labels, temperature, entropy, chunk, *head.parameters())


def chunk_tokens(setting: int | Literal["auto"], tokens: int, vocabulary: int) -> int:
    """Tokens a chunk for a `trainer.logprob_chunk_tokens`; 0 where all `tokens` are to be done in one piece."""
    if setting == "auto":
        setting = 0 if tokens * vocabulary <= WHOLE_ELEMENTS else max(1, CHUNK_ELEMENTS // vocabulary)
    return setting if setting < tokens else 0


class _Chunked(torch.autograd.Function):
    """torch.utils.checkpoint for each chunk would do, but then autograd holds a gradient of the whole head for each before
    it adds them up. Here the backward pass of a chunk is a whole one: it ends in the parameters, where they are added."""

    @staticmethod
    def forward(
        ctx: Any,
        head: torch.nn.Module,
        hidden: torch.Tensor,
        labels: torch.Tensor,
        temperature: float,
        entropy: Entropy,
        chunk: int,
        *parameters: torch.nn.Parameter,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        found = [
            token_distribution(head, states, tokens, temperature, entropy)
            for states, tokens in zip(hidden.split(chunk), labels.split(chunk), strict=True)
        ]
        ctx.save_for_backward(hidden, labels)
        ctx.call = (head, temperature, entropy, chunk)
        ctx.autocast = (
            hidden.device.type,
            torch.get_autocast_dtype(hidden.device.type),
            torch.is_autocast_enabled(hidden.device.type),
        )
        logprobs = torch.cat([one for one, _ in found])
        entropies = None if entropy == "none" else torch.cat([one for _, one in found])
        if entropy == "value":
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_logprobs: torch.Tensor, of_entropy: torch.Tensor | None) -> tuple[Any, ...]:
        hidden, labels = ctx.saved_tensors
        head, temperature, entropy, chunk = ctx.call
        of_hidden = torch.empty_like(hidden)
        with torch.enable_grad(), torch.autocast(*ctx.autocast):
            for start in range(0, len(labels), chunk):
                part = slice(start, start + chunk)
                states = hidden[part].detach().requires_grad_()
                logprobs, entropies = token_distribution(
                    head, states, labels[part], temperature, "gradient" if entropy == "gradient" else "none"
                )
                if entropies is None:
                    torch.autograd.backward(logprobs, of_logprobs[part])
                else:
                    torch.autograd.backward((logprobs, entropies), (of_logprobs[part], of_entropy[part]))
                of_hidden[part] = states.grad
        return None, of_hidden, *(None for _ in ctx.needs_input_grad[2:])
