"""What a critic learns by: squared error with clipped values (PPO, arXiv:1707.06347, as its first code and verl have it)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """One micro-batch's part of a mini-batch: 0-dim tensors, each a sum over tokens times their weights. Only `loss` carries a
    gradient. `clip_fraction`: tokens that the clip holds back; `value`: the present values."""

    loss: Tensor
    clip_fraction: Tensor
    value: Tensor


def value_loss(values: Tensor, values_old: Tensor, returns: Tensor, weights: Tensor, clip: float | None) -> ValueLoss:
    """Of N tokens; all tensors (N,). 0.5·max((V - R)², (clamp(V, V_old - clip, V_old + clip) - R)²); `clip` None: 0.5·(V - R)².
    A value that has moved further than `clip`, and towards its return, has no gradient."""
    squares = (values - returns) ** 2
    clipped = squares if clip is None else (values.clamp(values_old - clip, values_old + clip) - returns) ** 2
    return ValueLoss(
        loss=0.5 * (torch.maximum(squares, clipped) * weights).sum(),
        clip_fraction=((clipped > squares) * weights).sum(),
        value=(values.detach() * weights).sum(),
    )
