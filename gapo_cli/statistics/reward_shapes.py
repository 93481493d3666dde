"""What the rewards of a group look like: normal, left-skewed, right-skewed, symmetric or without spread.

A group with fewer than two rewards shows none of these: its shape is unknown, and it is in no share.

The paper (arXiv:2510.21830) sorts groups by five rough tests of normality, then by skew. It leaves open what holds for
small groups: here a test that does not apply to a size is not counted, and "most" is more than half of those that do.
"""

from __future__ import annotations

import numpy as np

from gapo_cli.records import EQUAL_WITHIN

SHAPES = ("normal", "left", "right", "symmetric", "zero")
UNKNOWN = "unknown"
"""Of a group with fewer than two rewards; the others are missing."""

SKEW_LIMIT = 0.5
KURTOSIS_LIMIT = 0.5
CENTRE_LIMIT = 0.1
"""|mean - median| in standard deviations."""
NORMAL_SHARES = (0.6827, 0.9545, 0.9973)
"""Of a normal distribution within 1, 2 and 3 standard deviations."""
SHARE_TOLERANCES = (0.15, 0.10, 0.05)
ROUNDING = 1e-9
"""A reward one standard deviation away is within it, whatever the last bit says."""
RANK_CORRELATION_LIMIT = 0.8
RANK_CORRELATION_FROM = 8
"""The rank correlation is only looked at in groups of this size or more."""


def group_shapes(rewards: np.ndarray) -> np.ndarray:
    """(B, G) rewards, NaN = missing → (B,) names out of SHAPES, or UNKNOWN. Missing rewards are left out of their group; one with
    fewer than two rewards is UNKNOWN, and one with all within 1e-9 of each other is "zero"."""
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 2:
        raise ValueError(f"rewards of shape {rewards.shape}: need (groups, completions)")
    present = np.sum(~np.isnan(rewards), axis=1)
    shapes = np.where(present >= 2, np.array("zero", dtype="<U9"), UNKNOWN)
    for size in np.unique(present[present >= 2]):
        rows = np.flatnonzero(present == size)
        # NaN sorts to the end, so the first `size` columns are the rewards that are there
        ordered = np.sort(rewards[rows], axis=1)[:, :size]
        spread = ordered[:, -1] - ordered[:, 0] > EQUAL_WITHIN
        shapes[rows[spread]] = _shapes_of_sorted(ordered[spread])
    return shapes


def shape_shares(shapes: np.ndarray) -> dict[str, float]:
    """(B,) names → share of each of SHAPES among the groups whose shape is known; the five add up to 1. Empty where none is."""
    known = shapes[shapes != UNKNOWN]
    return {name: float(np.mean(known == name)) for name in SHAPES} if len(known) else {}


def _shapes_of_sorted(ordered: np.ndarray) -> np.ndarray:
    """(b, n) sorted rows with spread → (b,) names."""
    size = ordered.shape[1]
    mean = ordered.mean(axis=1, keepdims=True)
    deviation = ordered - mean
    variance = np.mean(deviation**2, axis=1)
    std = np.sqrt(variance)
    skew = np.mean(deviation**3, axis=1) / std**3
    excess_kurtosis = np.mean(deviation**4, axis=1) / variance**2 - 3
    tests = [
        np.abs(skew) < SKEW_LIMIT,
        np.abs(excess_kurtosis) < KURTOSIS_LIMIT,
        np.abs(mean[:, 0] - np.median(ordered, axis=1)) < CENTRE_LIMIT * std,
        _follows_the_normal_shares(deviation, std),
    ]
    if size >= RANK_CORRELATION_FROM:
        tests.append(_rank_correlation(ordered) > RANK_CORRELATION_LIMIT)
    normal = np.sum(tests, axis=0) * 2 > len(tests)
    skewed = np.where(skew < -SKEW_LIMIT, "left", np.where(skew > SKEW_LIMIT, "right", "symmetric"))
    return np.where(normal, "normal", skewed)


def _follows_the_normal_shares(deviation: np.ndarray, std: np.ndarray) -> np.ndarray:
    """(b,) whether the shares within 1, 2 and 3 standard deviations are all near those of a normal distribution."""
    return np.all(
        [
            np.abs(np.mean(np.abs(deviation) <= width * (1 + ROUNDING) * std[:, None], axis=1) - share) < tolerance
            for width, (share, tolerance) in enumerate(zip(NORMAL_SHARES, SHARE_TOLERANCES, strict=True), start=1)
        ],
        axis=0,
    )


def _rank_correlation(ordered: np.ndarray) -> np.ndarray:
    """(b,) Spearman's correlation of the sorted rewards with the normal quantiles of their places: below 1 by ties."""
    # the quantiles rise with the place, so their ranks are the places
    places = np.arange(1.0, ordered.shape[1] + 1)
    # the rank of equal rewards is the mean of the first and the last of their places
    rises, end = ordered[:, 1:] > ordered[:, :-1], np.ones((len(ordered), 1), dtype=bool)
    first = np.maximum.accumulate(np.where(np.hstack([end, rises]), places, 0), axis=1)
    last = np.minimum.accumulate(np.where(np.hstack([rises, end]), places, np.inf)[:, ::-1], axis=1)[:, ::-1]
    ranks = (first + last) / 2
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    places = places - places.mean()
    return (ranks @ places) / np.sqrt(np.sum(ranks**2, axis=1) * np.sum(places**2))
