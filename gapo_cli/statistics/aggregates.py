"""What several seeds reached together: the interquartile mean and the probability of improvement.

Both and their stratified bootstrap are those of arXiv:2108.13264. A percentile interval of few runs is too narrow; the
quantiles are moved outwards as far as makes the interval of a mean as wide as its t interval (Hesterberg 2015,
arXiv:1411.5279, section 4.2).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from gapo_cli.statistics.intervals import CONFIDENCE, RESAMPLES, Measure

METHOD = "stratified bootstrap over seeds"


def expanded_tail(runs: int, samples: int = 1, confidence: float = CONFIDENCE) -> float:
    """The quantile at which the interval begins, in place of (1 - confidence) / 2, where `samples` samples of `runs` >= 2 runs
    each are resampled."""
    from scipy import stats

    reach = stats.t.ppf((1 + confidence) / 2, samples * (runs - 1)) * math.sqrt(runs / (runs - 1))
    return NormalDist().cdf(-float(reach))


def interquartile_means(scores: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the last axis, a quarter cut off at each end; scores that the cut goes through count in
    part, so that all numbers of them are used alike. (..., n) → (...)."""
    count = scores.shape[-1]
    places = np.arange(count)
    # how much of [place, place + 1] lies within [n/4, 3n/4]
    weights = np.clip(np.minimum(places + 1, 0.75 * count) - np.maximum(places, 0.25 * count), 0, 1)
    return np.sort(scores, axis=-1) @ weights / weights.sum()


def interquartile_mean(scores: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Measure:
    """Of scores (n seeds, strata), all together, with its 95 % interval; seeds are drawn within each stratum (a task set, or a
    model). One seed has no interval, none gives an empty Measure."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"scores of shape {scores.shape}: need (seeds, strata)")
    if scores.size == 0:
        return Measure()
    value = float(interquartile_means(scores.ravel()))
    if len(scores) < 2:
        return Measure(value)
    drawn = np.random.default_rng(seed).integers(0, len(scores), size=(resamples, *scores.shape))
    means = interquartile_means(np.take_along_axis(scores[None], drawn, axis=1).reshape(resamples, -1))
    return _interval(value, means, expanded_tail(len(scores)))


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Measure:
    """Chance that a run of ours (n,) scores higher than one of theirs (m,), a tie counted half: the Mann-Whitney U over n·m.
    With its 95 % interval where both have at least two runs; empty where one has none."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if not len(ours) or not len(theirs):
        return Measure()
    wins = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
    value = float(wins.mean())
    fewest = min(len(ours), len(theirs))
    if fewest < 2:
        return Measure(value)
    generator = np.random.default_rng(seed)
    rows = generator.multinomial(len(ours), np.full(len(ours), 1 / len(ours)), size=resamples)
    columns = generator.multinomial(len(theirs), np.full(len(theirs), 1 / len(theirs)), size=resamples)
    means = np.einsum("ri,ij,rj->r", rows, wins, columns, optimize=True) / wins.size
    return _interval(value, means, expanded_tail(fewest, samples=2))


def _interval(value: float, means: np.ndarray, tail: float) -> Measure:
    low, high = np.quantile(means, [tail, 1 - tail])
    return Measure(value, float(low), float(high), METHOD)
