"""What all estimators share: groups in, advantages out, and the degenerate groups in between.

An estimator says what is subtracted from the rewards of a group and what they are divided by; this module applies it to a
batch. Estimators see rewards as (n, b), n completions first, then b groups: NumPy's inner loop then runs over hundreds of
groups instead of over eight completions, which is where the speed comes from. They see each group in ascending order, so
that its advantages do not depend, not even in the last bit, on the order in which its completions were drawn.

Decided here, for every estimator: a missing reward (NaN) is left out of its group and has advantage 0; a group of one, or
whose rewards lie within EQUAL_WITHIN of each other, has advantage 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import numpy as np

from gapo_cli.errors import UserError
from gapo_cli.records import EQUAL_WITHIN, Advantages

# Added to every standard deviation, as verl does for GRPO and the paper's code for GAPO.
DIVISOR_EPSILON = 1e-6

# tau * n is rounded to so many decimals before the ceiling: 0.56 * 25 is 14.000000000000002 in floats, and means 14.
SHARE_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an estimator makes of b groups of n rewards: advantage = (reward - baseline) / divisor. `baseline`, `low` and
    `high` (b,); `divisor` (b,) or one number for all; `low` and `high` None where there is no interval."""

    baseline: np.ndarray
    divisor: np.ndarray | float
    low: np.ndarray | None = None
    high: np.ndarray | None = None


EstimateGroups = Callable[[np.ndarray, np.ndarray | None], Estimate]
"""Rewards (n, b), ascending along n, none missing, and their lengths (n, b) or None → Estimate."""


def advantages_of(rewards: np.ndarray, estimate: EstimateGroups, lengths: np.ndarray | None = None) -> Advantages:
    """Applies `estimate` to rewards (B, G), NaN = missing. Baseline, low and high of a group without any reward are NaN.
    Raises UserError for infinite rewards, ValueError for shapes that do not fit."""
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 2:
        raise ValueError(f"rewards have shape {rewards.shape}: need (groups, completions)")
    if lengths is not None:
        lengths = np.asarray(lengths, dtype=np.float64)
        if lengths.shape != rewards.shape:
            raise ValueError(f"lengths have shape {lengths.shape}: need that of the rewards, {rewards.shape}")
    # one sum tells whether any of them is missing or infinite
    if rewards.size and math.isfinite(rewards.sum()):
        return _advantages_of_whole_groups(rewards, estimate, lengths)
    if np.isinf(rewards).any():
        raise UserError("a reward is infinite: need finite numbers, or NaN for a missing reward")
    return _advantages_of_ragged_groups(rewards, estimate, lengths)


def _advantages_of_whole_groups(rewards: np.ndarray, estimate: EstimateGroups, lengths: np.ndarray | None) -> Advantages:
    if lengths is None:
        ordered = np.sort(rewards, axis=1)
    else:
        order = np.argsort(rewards, axis=1)
        ordered = np.take_along_axis(rewards, order, axis=1)
        lengths = np.ascontiguousarray(np.take_along_axis(lengths, order, axis=1).T)
    ordered = np.ascontiguousarray(ordered.T)  # (G, B)
    found = estimate(ordered, lengths)
    values = rewards.T.copy()  # a copy even for one group, whose transpose is contiguous as it is
    values -= found.baseline
    values /= found.divisor
    np.copyto(values, 0.0, where=ordered[-1] - ordered[0] <= EQUAL_WITHIN)
    return Advantages(
        values=values.T,
        baseline=found.baseline,
        low=np.full(len(rewards), np.nan) if found.low is None else found.low,
        high=np.full(len(rewards), np.nan) if found.high is None else found.high,
    )


def _advantages_of_ragged_groups(rewards: np.ndarray, estimate: EstimateGroups, lengths: np.ndarray | None) -> Advantages:
    """Groups with equally many rewards are estimated together, as groups of that size."""
    groups = len(rewards)
    missing = np.isnan(rewards)
    present_first = np.argsort(missing, axis=1, kind="stable")
    counts = rewards.shape[1] - missing.sum(axis=1)
    result = Advantages(np.zeros_like(rewards), *(np.full(groups, np.nan) for _ in range(3)))
    for count in np.unique(counts[counts > 0]):
        chosen = np.flatnonzero(counts == count)
        cells = chosen[:, None], present_first[chosen, :count]
        part = _advantages_of_whole_groups(rewards[cells], estimate, None if lengths is None else lengths[cells])
        result.values[cells] = part.values
        result.baseline[chosen] = part.baseline
        result.low[chosen] = part.low
        result.high[chosen] = part.high
    return result


def mean(rewards: np.ndarray) -> np.ndarray:
    """(n, b) → (b,)."""
    return rewards.sum(axis=0) / len(rewards)


def median(ordered: np.ndarray) -> np.ndarray:
    """Of rewards (n, b) in ascending order: the middle one, or the midpoint of the two in the middle. → (b,)"""
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def deviation(rewards: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """sqrt(Σ (r - centre)² / (n - 1)) + epsilon: (n, b), (b,) → (b,). Around the mean it is the standard deviation, ddof 1."""
    differences = rewards - centre
    differences *= differences
    return np.sqrt(differences.sum(axis=0) / degrees_of_freedom(rewards)) + DIVISOR_EPSILON


def degrees_of_freedom(rewards: np.ndarray) -> int:
    """n - 1, and 1 for a group of one, whose advantage is 0 whatever it is divided by."""
    return max(len(rewards) - 1, 1)


def shortest_run(ordered: np.ndarray, tau: float) -> np.ndarray:
    """The highest-density interval H of arXiv:2510.21830, Algorithm 1: of all runs of k = ceil(tau * n) rewards that are
    neighbours in order, the one that spans least; the lowest such run where several do. (n, b) → (k, b), ascending."""
    size = share_of(tau, len(ordered))
    # float64 and argmin, which takes the first of equal widths: a strict < as in the published code
    widths = ordered[size - 1 :] - ordered[: len(ordered) - size + 1]
    groups = ordered.shape[1]
    first = widths.argmin(axis=0) * groups + np.arange(groups)  # flat index into (n, b)
    return ordered.ravel().take(first + groups * np.arange(size)[:, None])


def share_of(share: float, count: int) -> int:
    """ceil(share * count), at least 1, not fooled by floats: share_of(0.56, 25) is 14."""
    return max(math.ceil(round(share * count, SHARE_DECIMALS)), 1)


def check_share(name: str, share: float) -> None:
    """Raises UserError unless `share` is a number in (0, 1]."""
    if not isinstance(share, Real) or not 0 < share <= 1:
        raise UserError(f"{name}={share}: need 0 < {name} <= 1")
