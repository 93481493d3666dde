import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from gapo_cli.statistics import intervals as uncertainty
from gapo_cli.statistics.intervals import Measure, bootstrap_means, measure_means, pass_at_k, wilson

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


def test_wilson_interval_of_eight_in_ten():
    # centre (p + z²/2n) / (1 + z²/n) = (0.8 + 3.841459/20) / 1.3841459 = 0.7167402
    # half width z·sqrt(p(1-p)/n + z²/4n²) / (1 + z²/n) = 1.959964·sqrt(0.016 + 0.0096036) / 1.3841459 = 0.2265776
    measure = wilson(8, 10)
    assert measure.value == 0.8
    assert measure.low == pytest.approx(0.7167402 - 0.2265776, abs=1e-6)
    assert measure.high == pytest.approx(0.7167402 + 0.2265776, abs=1e-6)
    assert measure.method == "wilson"


def test_wilson_interval_of_nothing_in_ten_is_not_a_point():
    # p = 0: low 0, high z² / (n + z²) = 3.841459 / 13.841459
    measure = wilson(0, 10)
    assert measure.low == pytest.approx(0, abs=1e-12)
    assert measure.high == pytest.approx(Z**2 / (10 + Z**2))


def test_no_trials_give_an_empty_measure():
    assert wilson(0, 0) == Measure(None, None, None, None)
    assert measure_means(np.empty((0, 2))) == [Measure(), Measure()]


@given(st.integers(1, 200), st.floats(0, 1))
def test_wilson_holds_its_value_and_mirrors(trials, share):
    successes = round(share * trials)
    measure, mirrored = wilson(successes, trials), wilson(trials - successes, trials)
    assert -1e-12 <= measure.low <= measure.value + 1e-12 and measure.value - 1e-12 <= measure.high <= 1
    assert measure.low == pytest.approx(1 - mirrored.high, abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (3, 7), (600, 600), (137, 600)])
def test_wilson_agrees_with_scipy(successes, trials):
    theirs = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    ours = wilson(successes, trials)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_bootstrap_of_two_tasks_reaches_both():
    # of the four equally likely resamples one is (0, 0) and one is (1, 1): both tails are wider than 2.5 %
    low, high = bootstrap_means(np.array([[0.0], [1.0]]))
    assert (low[0], high[0]) == (0.0, 1.0)


def test_bootstrap_of_many_tasks_is_near_the_normal_interval():
    values = np.repeat([[0.0], [1.0]], 200, axis=0)
    low, high = bootstrap_means(values)
    # the mean of 400 fair coins: 0.5 ± 1.96·0.5/20; with 2000 resamples a quantile wobbles by about 0.0015
    assert low[0] == pytest.approx(0.5 - Z * 0.025, abs=0.006)
    assert high[0] == pytest.approx(0.5 + Z * 0.025, abs=0.006)


def test_bootstrap_depends_on_the_seed_and_on_nothing_else(monkeypatch):
    values = np.random.default_rng(1).random((30, 3))
    whole = bootstrap_means(values, seed=4)
    assert np.allclose(bootstrap_means(values[:, 1:2], seed=4)[:, 0], whole[:, 1], atol=1e-15)
    assert not np.array_equal(bootstrap_means(values, seed=5), whole)
    monkeypatch.setattr(uncertainty, "BLOCK", 100)
    assert np.allclose(bootstrap_means(values, seed=4), whole, atol=1e-15)


def test_a_column_without_spread_gets_the_interval_of_a_proportion():
    first, second, third = measure_means(np.array([[0.0, 1.0, 0.5]] * 30))
    assert first == wilson(0, 30)
    assert second == wilson(30, 30)
    # all tasks at one half: no task differs from another, and no proportion of tasks says more
    assert third == Measure(0.5, 0.5, 0.5, "bootstrap over tasks")


def test_a_handful_of_tasks_is_not_resampled():
    # two tasks at 0 and 1/2: Wilson's interval of a share of 1/4 in two trials, not the [0, 1/2] of their resamples
    (measure,) = measure_means(np.array([[0.0], [0.5]]))
    assert measure == wilson(0.5, 2)
    assert measure.high > 0.5


def test_bootstrap_needs_a_task():
    with pytest.raises(ValueError, match="at least one task"):
        bootstrap_means(np.empty((0, 1)))


def test_pass_at_k_of_small_counts():
    # n = 4, k = 2: 1 - C(n-c, 2)/C(4, 2) for c = 0..4: 1-6/6, 1-3/6, 1-1/6, 1-0, 1-0
    assert pass_at_k([4] * 5, range(5), 2) == pytest.approx([0, 1 / 2, 5 / 6, 1, 1])
    # n = 8, c = 2, k = 4: 1 - C(6, 4)/C(8, 4) = 1 - 15/70
    assert pass_at_k([8], [2], 4) == pytest.approx([1 - 15 / 70])


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
def test_pass_at_k_is_the_hypergeometric_chance(samples, correct, k):
    correct, k = min(correct, samples), min(k, samples)
    expected = 1 - math.comb(samples - correct, k) / math.comb(samples, k)
    assert pass_at_k([samples], [correct], k)[0] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_needs_k_samples():
    with pytest.raises(ValueError, match="pass@5"):
        pass_at_k([8, 4], [1, 1], 5)


def test_resamples_drawn_at_once_are_those_drawn_in_blocks(monkeypatch):
    values = np.random.default_rng(1).random((30, 2))
    at_once = bootstrap_means(values, seed=3)
    monkeypatch.setattr(uncertainty, "BLOCK", 30 * 300)  # seven blocks of at most 300
    assert np.array_equal(bootstrap_means(values, seed=3), at_once)
    assert not np.array_equal(bootstrap_means(values, seed=4), at_once)
