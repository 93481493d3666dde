"""Groups with the advantages that an estimator gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gapo_cli.errors import UserError
from gapo_cli.interfaces import Estimator
from gapo_cli.records import Group


def spread(scores: np.ndarray) -> float:
    """max - min of the scores that are there; 0 where fewer than two are."""
    present = scores[~np.isnan(scores)]
    return float(present.max() - present.min()) if len(present) > 1 else 0.0


def with_advantages(groups: Sequence[Group], estimator: Estimator) -> list[Group]:
    """The groups with advantages, baselines and intervals filled in. Raises UserError where the estimator gives
    something else than one finite advantage a completion."""
    if not groups:
        return []
    rewards = np.stack([group.rewards for group in groups])
    lengths = np.array([[completion.length for completion in group.completions] for group in groups])
    found = estimator(rewards, lengths)
    name = type(estimator).__name__
    if found.values.shape != rewards.shape:
        raise UserError(
            f"estimator={name}: gives advantages of shape {found.values.shape}; need {rewards.shape}, as the rewards"
        )
    if not np.isfinite(found.values).all():
        raise UserError(f"estimator={name}: gives an advantage that is not finite; need 0 for a missing reward")
    columns = zip(groups, found.values, found.baseline, found.low, found.high, strict=True)
    return [
        replace(group, advantages=values, baseline=float(baseline), low=float(low), high=float(high))
        for group, values, baseline, low, high in columns
    ]
