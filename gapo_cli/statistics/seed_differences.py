"""Differences between two settings, paired by seed: their mean, how sure it is, and whether chance explains it.

Runs with the same seed share the order of the data and the sampling seeds, so what they differ in is the setting. The t
interval assumes that differences are about normal; the sign-flip test (Fisher 1935) assumes only that without an effect a
difference is as likely to be positive as negative, but n seeds cannot give a p below 2 / 2^n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.statistics.intervals import CONFIDENCE

EXACT_UP_TO = 20
"""Seeds for which all 2^n signs are tried (8 MB); above it signs are drawn."""
DRAWN_SIGNS = 100_000
ROUNDING = 1e-12
"""Sums that differ by less, beside their size, are the same sum added in another order."""


@dataclass(frozen=True, slots=True)
class SeedDifference:
    """`seeds` differences with their mean and standard deviation (ddof 1). `low`, `high`: the 95 % t interval; `t_p` the
    paired t test's p, `flip_p` the sign-flip test's, both two-sided. All None where there are too few seeds for them, or,
    for the interval and `t_p`, where all differences are equal."""

    seeds: int
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    t_p: float | None = None
    flip_p: float | None = None

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None where there is no spread."""
        return self.std / math.sqrt(self.seeds) if self.std else None


def seed_difference(differences: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> SeedDifference:
    """Differences (n,), one a seed, none missing → SeedDifference. One seed has a mean and nothing else; none has nothing."""
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)
    if len(values) == 0:
        return SeedDifference(0)
    mean = float(values.mean())
    if len(values) == 1:
        return SeedDifference(1, mean)
    std = float(values.std(ddof=1))
    flip_p = sign_flip_p(values)
    if std <= ROUNDING * max(1.0, abs(mean)):
        return SeedDifference(len(values), mean, 0.0, flip_p=flip_p)
    error = std / math.sqrt(len(values))
    margin = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    t_p = float(2 * stats.t.sf(abs(mean) / error, len(values) - 1))
    return SeedDifference(len(values), mean, std, mean - margin, mean + margin, t_p, flip_p)


def sign_flip_p(differences: Sequence[float] | np.ndarray, seed: int = 0) -> float:
    """Two-sided p: the share of all sign patterns whose sum is at least as far from 0 as the one seen. Exact for up to 2^20
    patterns, else of DRAWN_SIGNS drawn ones and the one seen (Phipson and Smyth 2010). 1.0 for no differences."""
    values = np.asarray(differences, dtype=np.float64)
    if len(values) == 0:
        return 1.0
    least = abs(values.sum()) - ROUNDING * np.abs(values).sum()
    if len(values) > EXACT_UP_TO:
        signs = np.random.default_rng(seed).integers(0, 2, size=(DRAWN_SIGNS, len(values)), dtype=np.int8) * 2 - 1
        return float((1 + np.sum(np.abs(signs @ values) >= least)) / (1 + DRAWN_SIGNS))
    # the sums of all patterns of the first i differences; a pattern and its opposite are equally far, so one sign is kept
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums) >= least))
