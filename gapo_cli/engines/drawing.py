"""Tokens from logits, one uniform number a token: the same number and logits give the same token in any batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gapo_cli.config import SamplingConfig


def uniforms(owners: Sequence[tuple[int, int]], max_new_tokens: int) -> np.ndarray:
    """(N, max_new_tokens) float64 in [0, 1): for each completion, by its prompt's seed and its index in the group, the
    numbers its tokens are drawn with. Neither the group's size nor the token limit changes those of an index."""
    return np.stack([np.random.default_rng(owner).random(max_new_tokens) for owner in owners])


def draw(logits: torch.Tensor, numbers: torch.Tensor | None, sampling: SamplingConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (N,) and their log-probabilities (N,) float32 for logits (N, vocabulary) and `numbers` (N,) float64.

    Temperature 0 takes the likeliest token, needs no numbers and gives its log-probability at temperature 1. Else the
    token is where the cumulated probabilities pass the number. Top-k first, then top-p of what is left, choose which
    tokens can be drawn; the log-probability stays that of the whole distribution after temperature, not renormalised
    over the choice: it is what training computes for the same token.
    """
    if sampling.temperature == 0:
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        tokens = logprobs.argmax(dim=-1)
        return tokens, logprobs.gather(-1, tokens[:, None]).squeeze(-1)
    logprobs = torch.log_softmax(logits.float() / sampling.temperature, dim=-1)
    probabilities = logprobs.exp()
    if sampling.top_k or sampling.top_p < 1:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        places = _place(_choose(probabilities, sampling), numbers)
        tokens = order.gather(-1, places[:, None]).squeeze(-1)
    else:
        tokens = _place(probabilities, numbers)
    return tokens, logprobs.gather(-1, tokens[:, None]).squeeze(-1)


def _choose(probabilities: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
    """Descending probabilities with those that top-k and top-p leave out set to 0. The likeliest always stays."""
    if sampling.top_k:
        probabilities = probabilities.clone()
        probabilities[:, sampling.top_k :] = 0
    if sampling.top_p < 1:
        likelier = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(likelier >= sampling.top_p * probabilities.sum(-1, keepdim=True), 0)
    return probabilities


def _place(probabilities: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Index (N,) of the first entry whose cumulated probability is above number * sum; its own is never 0."""
    cumulated = probabilities.cumsum(-1, dtype=torch.float64)  # float32 loses the tail of a large vocabulary
    total = cumulated[:, -1:]
    # a number next to 1 times the sum can round to the sum, which nothing is above
    target = torch.minimum(numbers[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulated, target, right=True).squeeze(-1)
