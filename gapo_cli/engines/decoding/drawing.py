"""Tokens from logits, one uniform number a token: the same number and logits give the same token in any batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.errors import NOT_FINITE, NotFiniteError

BLOCK = 128
"""Entries of a distribution that are summed before any are looked at one by one."""


def uniforms(owners: Sequence[tuple[int, int]], max_new_tokens: int) -> np.ndarray:
    """(N, max_new_tokens) float64 in [0, 1): for each completion, by its prompt's seed and its index in the group, the
    numbers its tokens are drawn with. Neither the group's size nor the token limit changes those of an index."""
    return np.stack([np.random.default_rng(owner).random(max_new_tokens) for owner in owners])


def draw(logits: torch.Tensor, numbers: torch.Tensor | None, sampling: SamplingConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (N,) and their log-probabilities (N,) float32 for logits (N, vocabulary) and `numbers` (N,) float64.

    Temperature 0 takes the likeliest token, needs no numbers and gives its log-probability at temperature 1. Else the
    token is where the cumulated probabilities pass the number. Top-k first, then top-p of what is left, choose which
    tokens can be drawn; the log-probability stays that of the whole distribution after temperature, not renormalised
    over the choice: it is what training computes for the same token. Raises NotFiniteError for logits that give no distribution.
    """
    highest, likeliest = logits.max(dim=-1, keepdim=True)
    # one matrix of the size and no other: new memory of megabytes costs more than the arithmetic on it
    probabilities = logits.float().sub(highest)
    if sampling.temperature not in (0, 1):
        probabilities /= sampling.temperature
    probabilities.exp_()  # times a constant, that is
    total = probabilities.sum(dim=-1, dtype=torch.float64)
    if total.isnan().any():  # a NaN or an infinity among a row's logits
        raise NotFiniteError(NOT_FINITE)
    if sampling.temperature == 0:
        return likeliest.squeeze(-1), -total.log().float()
    if sampling.top_k or sampling.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        places = _place(_choose(ordered, sampling), numbers)
        tokens = order.gather(-1, places[:, None])
    else:
        tokens = _place(probabilities, numbers)[:, None]
    logprobs = probabilities.gather(-1, tokens).squeeze(-1).double().log() - total.log()
    return tokens.squeeze(-1), logprobs.float()


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
    """Index (N,) of the first entry whose cumulated probability is above number * sum; its own is never 0. Sums are float64,
    since float32 loses the tail of a large vocabulary; block by block first, so that only one block has to be cumulated."""
    width = probabilities.shape[-1]
    whole = width // BLOCK * BLOCK
    blocks = probabilities[:, :whole].unflatten(-1, (-1, BLOCK)) if whole else probabilities[:, :0, None]
    sums = blocks.sum(-1, dtype=torch.float64)
    if whole < width:
        sums = torch.cat([sums, probabilities[:, whole:].sum(-1, keepdim=True, dtype=torch.float64)], dim=-1)
    cumulated = sums.cumsum(-1)
    block = _passed(cumulated, numbers[:, None] * cumulated[:, -1:])
    before = cumulated.gather(-1, block) - sums.gather(-1, block)
    columns = block * BLOCK + torch.arange(BLOCK, device=block.device)
    inside = probabilities.gather(-1, columns.clamp(max=width - 1)).double().masked_fill(columns >= width, 0)
    return (block * BLOCK + _passed(inside.cumsum(-1), numbers[:, None] * cumulated[:, -1:] - before)).squeeze(-1)


def _passed(cumulated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Index (N, 1) of the first of `cumulated` (N, K) that is above `target` (N, 1). A target that rounds to the last of
    them, which nothing is above, is taken to be just below it; one that rounds to less than 0, to be 0."""
    last = cumulated[:, -1:]
    below = torch.nextafter(last, torch.zeros_like(last))
    return torch.searchsorted(cumulated, torch.minimum(target, below).clamp(min=0), right=True)
