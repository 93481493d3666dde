"""A difference over seeds and tasks together: how it would come out with other seeds and other tasks.

Drawing seeds and tasks independently (the pigeonhole bootstrap, Owen 2007, arXiv:0711.3028) counts what belongs to neither a
seed nor a task three times, so its intervals are too wide; and few seeds make them too narrow. Here the draws give the shape of
the distribution; its width is that of the variance components (unbiased for a crossed design), its reach a t distribution's
with Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from gapo_cli.statistics.intervals import CONFIDENCE, RESAMPLES, Measure

METHOD = "bootstrap over seeds and tasks"


def seeds_and_tasks(differences: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Measure:
    """Differences (n seeds, T tasks), one for each seed's pair of runs and each task → their mean with its 95 % interval.
    Without two of each, or without any spread, a value alone; empty for no differences."""
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"differences of shape {values.shape}: need (seeds, tasks)")
    if values.size == 0:
        return Measure()
    seeds, tasks = values.shape
    mean = float(values.mean())
    if min(seeds, tasks) < 2:
        return Measure(mean)
    variance, freedom = crossed_variance(values)
    generator = np.random.default_rng(seed)
    rows = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    columns = generator.multinomial(tasks, np.full(tasks, 1 / tasks), size=resamples) / tasks
    # the same as a sum over both axes, but only ever (resamples, T) large
    means = np.einsum("rt,rt->r", rows @ values, columns)
    spread = float(means.std())
    if variance == 0 or spread == 0:
        return Measure(mean)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) / NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    widened = mean + (means - means.mean()) * reach * math.sqrt(variance) / spread
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(widened, [tail, 1 - tail])
    return Measure(mean, float(low), float(high), METHOD)


def crossed_variance(values: np.ndarray) -> tuple[float, float]:
    """The variance of the mean of (n, T) values with random rows and columns, (MS_rows + MS_columns - MS_rest) / nT, or, in the
    rare case that this is below 0, MS_rest / nT; and its degrees of freedom (Satterthwaite 1946)."""
    rows, columns = values.shape
    mean = values.mean()
    by_row, by_column = values.mean(axis=1), values.mean(axis=0)
    of_rows = columns * float(np.sum((by_row - mean) ** 2)) / (rows - 1)
    of_columns = rows * float(np.sum((by_column - mean) ** 2)) / (columns - 1)
    rest = values - by_row[:, None] - by_column + mean
    of_rest = float(np.sum(rest**2)) / ((rows - 1) * (columns - 1))
    total = of_rows + of_columns - of_rest
    if total <= 0:
        total = of_rest
    if total == 0:
        return 0.0, 1.0
    parts = of_rows**2 / (rows - 1) + of_columns**2 / (columns - 1) + of_rest**2 / ((rows - 1) * (columns - 1))
    # a total near 0 is a difference of large parts; it is no less certain than the fewer of rows and columns alone
    return total / values.size, max(min(rows, columns) - 1.0, total**2 / parts)
