"""One of our estimators on verl's batches: rows in any order, groups of any sizes, rewards by token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gapo_cli.interfaces import Estimator


def outcome_advantages(
    estimator: Estimator, token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: Sequence[object]
) -> torch.Tensor:
    """Rewards and mask (N, T), and the name of each row's group, to advantages (N, T), 0 outside the mask. A group that is smaller
    than the largest is filled up with missing rewards, which estimators leave out. Rows without a token, as verl fills up batches
    with, form groups of their own."""
    scores = token_level_rewards.sum(dim=-1).double().cpu().numpy()
    lengths = response_mask.sum(dim=-1).double().cpu().numpy()
    names, group = np.unique(np.asarray(index).astype(str), return_inverse=True)
    sizes = np.bincount(group)
    order = np.argsort(group, kind="stable")
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.empty_like(order)
    place[order] = np.arange(len(order)) - first[group[order]]
    rewards = np.full((len(names), sizes.max()), np.nan)
    tokens = np.ones_like(rewards)
    rewards[group, place] = scores
    tokens[group, place] = np.maximum(lengths, 1)
    values = estimator(rewards, tokens).values[group, place]
    return torch.from_numpy(values).to(token_level_rewards).unsqueeze(-1) * response_mask
