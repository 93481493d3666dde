"""Paired differences over seeds, against scipy and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gapo_cli.statistics.seed_differences import seed_difference, sign_flip_p


@pytest.mark.parametrize("seeds", [2, 3, 5, 12, 40])
def test_mean_interval_and_p_are_those_of_scipys_paired_t_test(seeds):
    generator = np.random.default_rng(seeds)
    ours, theirs = generator.normal(0.5, 0.1, seeds), generator.normal(0.45, 0.1, seeds)
    found = seed_difference(ours - theirs)
    expected = stats.ttest_rel(ours, theirs)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high, found.t_p) == pytest.approx((interval.low, interval.high, expected.pvalue))


@pytest.mark.parametrize("seeds", [2, 5, 9])
def test_sign_flips_are_those_of_scipys_permutation_test(seeds):
    differences = np.random.default_rng(seeds).normal(0.3, 1, seeds)
    expected = stats.permutation_test(
        (differences,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip_p(differences) == pytest.approx(expected.pvalue)


def test_equal_signs_of_n_seeds_give_two_of_all_patterns():
    # of 2^4 = 16 patterns only all plus and all minus are as far from 0
    assert sign_flip_p([0.1, 0.2, 0.3, 0.4]) == pytest.approx(2 / 16)
    # floats: 0.1 + 0.2 and 0.3 are the same sum; |0.1 + 0.2 - 0.3| = 0 is reached by every pattern
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0


def test_many_seeds_are_drawn_and_agree_with_the_normal_approximation():
    differences = np.random.default_rng(0).normal(0.4, 1, 30)
    assert sign_flip_p(differences) == pytest.approx(seed_difference(differences).t_p, abs=0.02)
    assert sign_flip_p(differences) == sign_flip_p(differences)


def test_too_few_seeds_have_no_interval_and_equal_differences_claim_none():
    assert seed_difference([]).mean is None
    one = seed_difference([0.2])
    assert (one.seeds, one.mean, one.std, one.low, one.t_p, one.flip_p) == (1, 0.2, None, None, None, None)
    same = seed_difference([0.2, 0.2, 0.2])
    assert (same.std, same.low, same.t_p, same.flip_p) == (0.0, None, None, pytest.approx(2 / 8))


@given(st.lists(st.integers(-64, 64).map(lambda value: value / 64), min_size=2, max_size=10))
def test_swapping_the_settings_changes_the_sign_and_nothing_else(differences):
    found, swapped = seed_difference(differences), seed_difference([-value for value in differences])
    assert found.mean == -swapped.mean
    assert found.flip_p == swapped.flip_p
    if found.low is not None:
        assert (found.low, found.high) == pytest.approx((-swapped.high, -swapped.low))
        assert not math.isnan(found.t_p)
