"""How many seeds a question needs: to show a difference, to show that there is none, to decide what is undecided.

The paired t test's power comes from the noncentral t distribution; equivalence is shown by two one-sided tests (Schuirmann
1987), which is the same as a 90 % interval inside [-delta, +delta].
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gapo_cli.statistics.seed_differences import SeedDifference

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 100_000
"""Where the search for a number of seeds ends: nobody trains as often."""


def equivalence_p(found: SeedDifference, delta: float) -> float | None:
    """p of "the difference is delta or more, one way or the other": the larger one of the two one-sided tests. Differences that are
    all equal have no spread to go by; if they lie inside the bounds, p is a sign test's, 2^-n for n of n. None for fewer than two
    seeds."""
    from scipy import stats

    if found.seeds < 2 or found.mean is None:
        return None
    if found.error is None:
        return 0.5**found.seeds if abs(found.mean) < delta else 1.0
    return float(stats.t.sf((delta - abs(found.mean)) / found.error, found.seeds - 1))


def power_of_t_test(seeds: int, std: float, difference: float, alpha: float = ALPHA) -> float:
    """Chance that the two-sided paired t test finds a true `difference` with `seeds` >= 2 pairs that spread by `std`."""
    from scipy import stats

    shift = difference / std * math.sqrt(seeds)
    limit = stats.t.ppf(1 - alpha / 2, seeds - 1)
    return float(stats.nct.sf(limit, seeds - 1, shift) + stats.nct.cdf(-limit, seeds - 1, shift))


def seeds_for_power(std: float, difference: float, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """The fewest pairs with which the test finds `difference` with chance `power`; None for more than
    MOST_SEEDS, for a difference of 0, and where there is no spread to go by."""
    if difference == 0:
        return None
    if std == 0:
        return None
    return fewest_seeds(lambda seeds: power_of_t_test(seeds, std, abs(difference), alpha) >= power)


def seeds_to_decide(found: SeedDifference, delta: float, alpha: float = ALPHA) -> int | None:
    """The fewest pairs that would decide if mean and spread stayed as they are: the interval leaves out 0, or lies, at
    1 - 2 alpha, within +-delta. None where there is no spread to go by, or for more than MOST_SEEDS."""
    from scipy import stats

    if not found.std or found.mean is None:
        return None
    mean, std = abs(found.mean), found.std

    def decided(seeds: int) -> bool:
        error = std / math.sqrt(seeds)
        differs = mean > stats.t.ppf(1 - alpha / 2, seeds - 1) * error
        return bool(differs or mean + stats.t.ppf(1 - alpha, seeds - 1) * error < delta)

    return fewest_seeds(decided)


def fewest_seeds(enough: Callable[[int], bool]) -> int | None:
    """The smallest number of seeds from 2 for which `enough` holds, if it holds for all larger ones; None beyond MOST_SEEDS."""
    low, high = 1, 2
    while not enough(high):
        low, high = high, high * 2
        if high > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
