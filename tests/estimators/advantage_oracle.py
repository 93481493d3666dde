"""Advantages the slow and plain way, one group at a time in Python numbers: what the vectorised estimators are compared with.

Written from the definitions (arXiv:2510.21830, Algorithm 1, and the papers of the other estimators), sharing no code with
the package: `fractions` decide ceil(tau * n), `statistics` the means, medians and deviations.
"""

from __future__ import annotations

import math
import statistics
from fractions import Fraction


def highest_density_interval(rewards: list[float], tau: float) -> list[float]:
    """Algorithm 1: slide over the ordered rewards, keep a run only if it is strictly shorter than the best before it."""
    ordered = sorted(rewards)
    size = math.ceil(Fraction(str(tau)) * len(ordered))
    best, best_width = ordered[:size], ordered[size - 1] - ordered[0]
    for start in range(1, len(ordered) - size + 1):
        run = ordered[start : start + size]
        if run[-1] - run[0] < best_width:
            best, best_width = run, run[-1] - run[0]
    return best


def spread(rewards: list[float], centre: float) -> float:
    return math.sqrt(sum((reward - centre) ** 2 for reward in rewards) / (len(rewards) - 1)) + 1e-6


def group_advantages(name: str, rewards: list[float], lengths: list[float], share: float) -> list[float]:
    """`share` is tau or the quantile. A NaN reward is missing. Returns one advantage a reward."""
    present = [index for index, reward in enumerate(rewards) if not math.isnan(reward)]
    kept = [rewards[index] for index in present]
    result = [0.0] * len(rewards)
    if len(kept) < 2 or max(kept) - min(kept) <= 1e-9:
        return result
    baseline, divisor = baseline_and_divisor(name, kept, [lengths[index] for index in present], share)
    for place, index in enumerate(present):
        own = statistics.fmean(kept[:place] + kept[place + 1 :]) if name == "rloo" else baseline
        result[index] = (kept[place] - own) / divisor
    return result


def baseline_and_divisor(name: str, rewards: list[float], lengths: list[float], share: float) -> tuple[float, float]:
    mean = statistics.fmean(rewards)
    if name == "grpo":
        return mean, statistics.stdev(rewards) + 1e-6
    if name in ("dr_grpo", "rloo"):
        return mean, 1.0
    if name == "opo":
        return sum(r * length for r, length in zip(rewards, lengths, strict=True)) / sum(lengths), 1.0
    if name == "median":
        return statistics.median(rewards), spread(rewards, statistics.median(rewards))
    if name == "quantile":
        at_least = math.ceil(Fraction(str(share)) * len(rewards))
        baseline = next(r for r in sorted(rewards) if sum(other <= r for other in rewards) >= at_least)
        return baseline, statistics.stdev(rewards) + 1e-6
    interval = highest_density_interval(rewards, share)
    if name == "gapo":
        return statistics.median(interval), spread(rewards, statistics.median(interval))
    if name == "gapo_mean":
        return statistics.fmean(interval), spread(rewards, statistics.fmean(interval))
    if name == "gapo_median_std":
        return statistics.median(interval), statistics.stdev(rewards) + 1e-6
    raise ValueError(f"no oracle for estimator {name}")
