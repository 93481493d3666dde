"""How the losses of tokens become the loss of a mini-batch."""

from __future__ import annotations

import torch
from torch import Tensor

from gapo_cli.config.algorithm import AGGREGATIONS
from gapo_cli.config.checks import one_of
from gapo_cli.errors import UserError


def token_weights(lengths: Tensor, aggregation: str, constant_divisor: float | None = None) -> Tensor:
    """What each token of sequence s weighs in the loss of the mini-batch: lengths (S,) in tokens → (S,) float32.

    token-mean: 1 / Σ lengths, every token of the mini-batch alike (DAPO; the paper's scripts).
    seq-mean-token-mean: 1 / (S · length), every sequence alike (GRPO).
    seq-mean-token-sum: 1 / S.
    constant: 1 / (S · constant_divisor), a sum over tokens that favours no length (Dr. GRPO, arXiv:2503.20783; there the
    divisor is the longest answer allowed).

    `lengths` must be those of the whole mini-batch, whatever the micro-batches. Raises UserError for another aggregation, and
    for constant without a divisor above 0.
    """
    one_of("algorithm.aggregation", aggregation, AGGREGATIONS)
    lengths = lengths.to(torch.float32)
    sequences = max(len(lengths), 1)
    if aggregation == "token-mean":
        return torch.ones_like(lengths) / lengths.sum().clamp(min=1)
    if aggregation == "seq-mean-token-mean":
        return 1 / (sequences * lengths.clamp(min=1))
    if aggregation == "seq-mean-token-sum":
        return torch.full_like(lengths, 1 / sequences)
    if constant_divisor is None or not constant_divisor > 0:
        raise UserError(f"algorithm.constant_divisor={constant_divisor}: aggregation=constant needs a number above 0")
    return torch.full_like(lengths, 1 / (sequences * constant_divisor))
