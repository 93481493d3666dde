"""How sure a measured share or mean is: Wilson intervals, a bootstrap over tasks, and pass@k.

Tasks are what is drawn from the population; several samples of one task are not independent, so everything sampled is
first averaged within its task, and the task is what the bootstrap draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000
"""Enough for the 2.5 % and 97.5 % quantiles to be steady to about a tenth of the interval's width."""
FEW_TASKS = 20
"""Below it the resamples of a handful of tasks say little about the tasks that were not drawn."""
BLOCK = 4_000_000
"""Resampling counts held in memory at a time (float64, 32 MB)."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A value with its 95 % interval and the method that made it ("wilson" or "bootstrap over tasks"). All None where
    there was nothing to measure; a value alone where there is no interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "method": self.method}

    @classmethod
    def from_dict(cls, row: dict[str, Any] | None) -> Measure:
        return cls(**row) if row else cls()


def wilson(successes: float, trials: int, confidence: float = CONFIDENCE) -> Measure:
    """Wilson's score interval of a proportion (Wilson 1927, no continuity correction), which stays inside [0, 1] and
    keeps a width at 0 and 1. `successes` may be the sum of numbers in [0, 1] that are no mere yes or no: these spread
    less than a proportion does, so the interval is too wide rather than too narrow. No trials give an empty Measure."""
    if trials == 0:
        return Measure()
    share = successes / trials
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = share + z**2 / (2 * trials)
    margin = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return Measure(share, max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale), "wilson")


def bootstrap_means(
    values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> np.ndarray:
    """Percentile-bootstrap interval of the mean over tasks of each column (Efron 1979; with samples averaged within their
    task it is the cluster bootstrap). values: (T, M), one row a task. Returns (2, M): low and high. All columns are
    resampled together, so that the same seed gives the same interval whatever stands beside a column."""
    tasks, columns = values.shape
    if tasks == 0:
        raise ValueError("bootstrap_means: need at least one task")
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, columns))
    block = max(1, BLOCK // tasks)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        counts = drawn_at_once(tasks, size, seed) if size == resamples else draw(generator, tasks, size)
        means[start : start + size] = counts.astype(np.float64) @ values / tasks
    tail = (1 - confidence) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0)


def draw(generator: np.random.Generator, tasks: int, resamples: int) -> np.ndarray:
    """How often each of T tasks is drawn in each resample of T: (resamples, T) whole numbers."""
    return generator.multinomial(tasks, np.full(tasks, 1 / tasks), size=resamples)


@lru_cache(maxsize=32)
def drawn_at_once(tasks: int, resamples: int, seed: int) -> np.ndarray:
    """As `draw`, for as many tasks as fit in one block: drawing takes longer than averaging, and every mode, family and
    later evaluation of as many tasks draws the same. Shared between callers: not to be changed. At most 8 MB each."""
    return draw(np.random.default_rng(seed), tasks, resamples).astype(np.int16)


def measure_means(values: np.ndarray, seed: int = 0) -> list[Measure]:
    """The mean over tasks of each column of (T, M), values in [0, 1], with its bootstrap interval. Where resampling would
    claim too much, in columns that are 0 or 1 everywhere and for fewer than FEW_TASKS tasks, it is Wilson's for T trials.
    No tasks give empty Measures."""
    tasks, columns = values.shape
    if tasks == 0:
        return [Measure()] * columns
    # rounding may put the mean of ones above 1
    totals = np.clip(values.sum(axis=0), 0, tasks)
    if tasks < FEW_TASKS:
        return [wilson(float(total), tasks) for total in totals]
    low, high = bootstrap_means(values, seed)
    return [
        wilson(float(total), tasks)
        if total in (0, tasks)
        else Measure(float(total / tasks), float(low[column]), float(high[column]), "bootstrap over tasks")
        for column, total in enumerate(totals)
    ]


def measure_differences(values: np.ndarray, seed: int = 0) -> Measure:
    """The mean of the tasks' differences (T,) with its bootstrap interval. Differences that are all equal have no spread
    to resample: an interval is not claimed."""
    if len(values) == 0:
        return Measure()
    if np.all(values == values[0]):
        return Measure(float(values[0]))
    low, high = bootstrap_means(values[:, None], seed)[:, 0]
    return Measure(float(values.mean()), float(low), float(high), "bootstrap over tasks")


def pass_at_k(samples: Sequence[int] | np.ndarray, correct: Sequence[int] | np.ndarray, k: int) -> np.ndarray:
    """Unbiased chance, per task, that at least one of k samples is right: 1 - C(n-c, k) / C(n, k), for c right ones
    among n samples (Chen et al. 2021, arXiv:2107.03374, Eq. 1), as a product, which cannot overflow. (T,) in [0, 1].
    Raises ValueError if a task has fewer than k samples."""
    drawn, right = np.asarray(samples, dtype=np.int64), np.asarray(correct, dtype=np.int64)
    if k < 1 or np.any(drawn < k):
        raise ValueError(f"pass@{k}: need 1 <= k <= samples a task, the smallest has {drawn.min(initial=0)}")
    # C(n-c, k) / C(n, k) = product over i < k of (n-c-i) / (n-i); a factor of 0 or less means it is 0
    steps = np.arange(k)[:, None]
    return 1 - np.prod(np.maximum(drawn - right - steps, 0) / (drawn - steps), axis=0)
