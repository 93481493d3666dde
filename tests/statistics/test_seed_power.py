"""Equivalence and numbers of seeds, against scipy, the normal approximation and simulation."""

import numpy as np
import pytest
from scipy import stats

from gapo_cli.statistics.seed_differences import seed_difference
from gapo_cli.statistics.seed_power import equivalence_p, power_of_t_test, seeds_for_power, seeds_to_decide


def test_equivalence_is_the_larger_of_scipys_two_one_sided_tests():
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.01, 0.02, 8)
        lower = stats.ttest_1samp(differences, -0.03, alternative="greater").pvalue
        upper = stats.ttest_1samp(differences, 0.03, alternative="less").pvalue
        assert equivalence_p(seed_difference(differences), 0.03) == pytest.approx(max(lower, upper))


def test_equivalence_without_spread_is_a_matter_of_the_bounds():
    # two of two inside the bounds: 1/4
    assert equivalence_p(seed_difference([0.01, 0.01]), 0.02) == 0.25
    assert equivalence_p(seed_difference([0.03, 0.03]), 0.02) == 1.0
    assert equivalence_p(seed_difference([0.01]), 0.02) is None


def test_power_is_the_share_of_simulated_studies_that_find_the_difference():
    drawn = np.random.default_rng(0).normal(1, 1.3, (20_000, 9))
    found = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    # 20,000 draws: a standard error below 0.0036
    assert power_of_t_test(9, 1.3, 1.0) == pytest.approx(found.mean(), abs=0.015)


def test_the_seeds_for_a_power_are_the_fewest_that_have_it():
    # a textbook value: difference of one standard deviation, power 0.8, two-sided 5 %: 10 pairs
    assert seeds_for_power(1.0, 1.0) == 10
    # (1.96 + 0.8416)^2 / 0.2^2 = 196.2, and some more for the t distribution
    assert seeds_for_power(1.0, 0.2) == 199
    assert (seeds_for_power(0.0, 0.1), seeds_for_power(1.0, 0.0), seeds_for_power(1.0, 1e-6)) == (None, None, None)


def test_the_seeds_that_would_decide_do_decide_if_mean_and_spread_stay():
    for differences in ([0.01, 0.05, -0.02], [0.001, -0.002, 0.02], [0.02, 0.0, 0.045]):
        found = seed_difference(differences)
        total = seeds_to_decide(found, 0.02)
        error = found.std / total**0.5
        excludes_zero = abs(found.mean) > stats.t.ppf(0.975, total - 1) * error
        within = abs(found.mean) + stats.t.ppf(0.95, total - 1) * error < 0.02
        assert excludes_zero or within
    assert seeds_to_decide(seed_difference([0.1]), 0.02) is None
