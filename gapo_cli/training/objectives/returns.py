"""What a critic's values say about each token: generalised advantage estimation (GAE, arXiv:1506.02438), and how good the values were.

All functions take flat tensors over N completion tokens, completion by completion. A completion ends with its last token, whether
or not the token limit cut it: nothing is expected of what would have come.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

VARIANCE_FLOOR = 1e-8
"""Added to the variance that advantages are divided by the root of: verl's and TRL's."""


def generalised_advantages(
    rewards: Tensor, values: Tensor, lengths: Sequence[int], gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """rewards (N,) of each token, values (N,) V_t of the state before it, lengths: tokens of each completion → advantages and
    returns, (N,) each.

    δ_t = r_t + γ·V_{t+1} - V_t with V = 0 behind the last token; A_t = δ_t + γλ·A_{t+1}; R_t = A_t + V_t, what the critic learns.
    """
    padded_rewards = pad_sequence(rewards.split(list(lengths)), batch_first=True)  # (completions, longest)
    padded_values = pad_sequence(values.split(list(lengths)), batch_first=True)
    advantages = torch.zeros_like(padded_rewards)
    next_value = next_advantage = torch.zeros_like(padded_rewards[:, 0])
    # padding has reward and value 0, so its advantage is 0 and nothing of it reaches the last token
    for place in reversed(range(padded_rewards.shape[1])):
        delta = padded_rewards[:, place] + gamma * next_value - padded_values[:, place]
        next_advantage = delta + gamma * gae_lambda * next_advantage
        next_value = padded_values[:, place]
        advantages[:, place] = next_advantage
    flat = torch.cat([row[:length] for row, length in zip(advantages, lengths, strict=True)])
    return flat, flat + values


def whitened(advantages: Tensor) -> Tensor:
    """(N,) → (N,) with mean 0 and standard deviation 1 (that of N - 1). Zeros for fewer than two."""
    if len(advantages) < 2:
        return torch.zeros_like(advantages)
    return (advantages - advantages.mean()) * torch.rsqrt(advantages.var() + VARIANCE_FLOOR)


def explained_variance(values: Tensor, returns: Tensor) -> float | None:
    """1 - Var(R - V) / Var(R): 1 for a critic that is right, 0 for a constant, below 0 for one that is worse than that. None where
    the returns do not differ."""
    spread = returns.var(correction=0)
    return float(1 - (returns - values).var(correction=0) / spread) if spread > 0 else None
