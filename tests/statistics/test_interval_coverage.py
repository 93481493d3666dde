"""The 95 % intervals hold the truth about as often as they say; benchmarks/interval_coverage.py counts more finely."""

import numpy as np
import pytest

from gapo_cli.statistics.aggregates import interquartile_mean
from gapo_cli.statistics.seed_differences import seed_difference
from gapo_cli.statistics.seeds_and_tasks import seeds_and_tasks

REPEATS = 400
# of 400 repeats at 95 % the share has a standard error of 1.1 points: 4 of them on each side
LOWEST, HIGHEST = 0.905, 0.995


@pytest.mark.parametrize("name", ["t", "interquartile", "seeds and tasks"])
def test_an_interval_holds_the_truth_about_95_times_in_100(name):
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(REPEATS):
        if name == "t":
            found = seed_difference(generator.normal(0.02, 0.03, 6))
        elif name == "interquartile":
            found = interquartile_mean(generator.normal(0.02, 0.03, (8, 1)), resamples=400)
        else:
            values = generator.normal(0, 0.03, (8, 1)) + generator.normal(0, 0.2, 40) + generator.normal(0.02, 0.5, (8, 40))
            found = seeds_and_tasks(values, resamples=400)
        held += found.low <= 0.02 <= found.high
    assert LOWEST <= held / REPEATS <= HIGHEST
