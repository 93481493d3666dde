"""What can be known of groups as training draws them, without a pool that tells the true advantages.

How often an estimator gives nothing or pushes down, where estimators disagree about the direction, how far Q lies from the mean,
and what shapes the rewards have, step by step (Figures 7 and 8 of arXiv:2510.21830).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.lab.replay import Variant
from gapo_cli.lab.saved_rewards import SavedRewards
from gapo_cli.statistics.reward_shapes import SHAPES, UNKNOWN, group_shapes, shape_shares


@dataclass(frozen=True)
class GroupFindings:
    """One estimator on the groups: shares of all completions with a reward. `sign_changes`: whose advantage has another sign than
    the first estimator gives it; `q_minus_mean`: mean over groups, None where there is none. `negative_by_shape`,
    `zero_by_shape`: of the completions in groups of that shape, for the shapes there are."""

    variant: str
    zero: float
    negative: float
    sign_changes: float
    q_minus_mean: float | None
    negative_by_shape: Mapping[str, float]
    zero_by_shape: Mapping[str, float]


@dataclass(frozen=True)
class ShapesAtStep:
    """Shares of the reward shapes among the `groups` sampled in a step, those that dynamic sampling dropped included, and those of
    `unknown` shape left out; without shares where all are unknown."""

    step: int
    groups: int
    unknown: int
    shares: Mapping[str, float]


def compare_on_groups(saved: SavedRewards, variants: Sequence[Variant]) -> list[GroupFindings]:
    """Over the groups that were learnt from; dropped ones are left out. Empty where no group is left."""
    kept = saved.only(~saved.dropped)
    present = ~np.isnan(kept.rewards)
    if not present.any():
        return []
    shapes = group_shapes(kept.rewards)
    mean = np.nanmean(np.where(present.any(axis=1, keepdims=True), kept.rewards, 0), axis=1)
    first: np.ndarray | None = None
    found = []
    for variant in variants:
        # a place without completion has no length either; an estimator that weighs by length must not see 0
        estimated = variant.estimator(kept.rewards, np.where(np.isnan(kept.lengths), 1, kept.lengths))
        signs = np.sign(estimated.values)
        first = signs if first is None else first
        off = (estimated.baseline - mean)[~np.isnan(estimated.baseline)]
        found.append(
            GroupFindings(
                variant.name,
                zero=float(np.mean(signs[present] == 0)),
                negative=float(np.mean(signs[present] < 0)),
                sign_changes=float(np.mean((signs != first)[present])),
                q_minus_mean=float(off.mean()) if len(off) else None,
                negative_by_shape=_by_shape(signs < 0, present, shapes),
                zero_by_shape=_by_shape(signs == 0, present, shapes),
            )
        )
    return found


def _by_shape(holds: np.ndarray, present: np.ndarray, shapes: np.ndarray) -> dict[str, float]:
    return {
        shape: float(np.mean(holds[rows][present[rows]]))
        for shape in SHAPES
        if (rows := shapes == shape).any() and present[rows].any()
    }


def shapes_by_step(saved: SavedRewards) -> list[ShapesAtStep]:
    shapes = group_shapes(saved.rewards)
    found = []
    for step in np.unique(saved.steps):
        own = shapes[saved.steps == step]
        found.append(ShapesAtStep(int(step), len(own), int(np.sum(own == UNKNOWN)), shape_shares(own)))
    return found
