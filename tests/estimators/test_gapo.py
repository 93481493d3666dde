"""GAPO and its ablations: the interval, its ties, tau, and what follows for skewed groups."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.errors import UserError
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.gapo_mean import GAPOMean
from gapo_cli.estimators.gapo_median_std import GAPOMedianStd
from gapo_cli.estimators.groups import share_of
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.estimators.median import Median
from gapo_cli.estimators.opo import OPO
from gapo_cli.estimators.quantile import Quantile

groups_of_sixty_fourths = st.lists(st.integers(0, 64), min_size=2, max_size=16).map(lambda counts: np.array([counts]) / 64)
taus = st.integers(1, 100).map(lambda percent: percent / 100)


@given(rewards=groups_of_sixty_fourths)
def test_tau_one_is_the_median_of_the_whole_group(rewards):
    whole, median = GAPO(tau=1.0)(rewards), Median()(rewards)
    assert np.array_equal(whole.values, median.values)
    assert whole.baseline.tolist() == [np.median(rewards)]
    assert (whole.low[0], whole.high[0]) == (rewards.min(), rewards.max())


@given(rewards=groups_of_sixty_fourths, tau=taus)
def test_interval_holds_at_least_its_share_and_no_run_of_that_size_is_shorter(rewards, tau):
    found = GAPO(tau)(rewards)
    size = math.ceil(round(tau * rewards.size, 9))
    ordered = np.sort(rewards[0])
    widths = [ordered[start + size - 1] - ordered[start] for start in range(rewards.size - size + 1)]
    assert found.high[0] - found.low[0] == min(widths)
    assert found.low[0] == ordered[widths.index(min(widths))]  # index: the lowest of the shortest
    assert np.count_nonzero((found.low[0] <= rewards) & (rewards <= found.high[0])) >= size
    assert found.low[0] <= found.baseline[0] <= found.high[0]


@given(rewards=groups_of_sixty_fourths, tau=taus)
def test_lowest_value_that_fills_the_interval_has_no_advantage(rewards, tau):
    size = math.ceil(round(tau * rewards.size, 9))
    filling = [value for value in np.unique(rewards) if np.count_nonzero(rewards == value) >= size]
    values = GAPO(tau)(rewards).values
    if filling:
        assert not values[rewards == filling[0]].any()


@pytest.mark.parametrize("size", range(2, 21))
def test_tau_just_above_a_threshold_takes_one_reward_more(size):
    # evenly spaced rewards: the interval is the lowest run, and its width counts its rewards
    rewards = np.arange(size)[None] / 64
    for count in range(1, size):
        at, above = GAPO(count / size)(rewards), GAPO(count / size + 1e-6)(rewards)
        assert (at.low[0], at.high[0]) == (0, (count - 1) / 64)
        assert (above.low[0], above.high[0]) == (0, count / 64)


def test_share_is_not_fooled_by_floats():
    assert math.ceil(0.56 * 25) == 15  # 14.000000000000002
    assert share_of(0.56, 25) == 14
    assert math.ceil(0.55 * 100 * 20 / 100) == 12  # the same by way of per cent, as in the paper's code
    assert share_of(0.55, 20) == 11
    assert share_of(1e-12, 8) == 1
    assert share_of(1.0, 8) == 8


def test_ties_go_to_the_lowest_run():
    found = GAPO(0.5)(np.array([[0.0, 0.0, 0.5, 0.5, 1.0, 1.0]]))  # k = 3: widths .5 .5 .5 .5
    assert (found.low[0], found.baseline[0], found.high[0]) == (0.0, 0.0, 0.5)


def test_advantages_need_not_sum_to_zero():
    # hand: .8 / sqrt(2.56 / 7) = 1.3229, four times
    values = GAPO(0.5)(np.array([[0.2] * 4 + [1.0] * 4])).values
    np.testing.assert_allclose(values, [[0] * 4 + [1.3229] * 4], atol=1e-4)
    assert values.sum() > 5


def test_left_skewed_group_has_more_negative_advantages_than_under_grpo():
    easy = np.array([[0.1, 0.5, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0]])  # mean .8; Q = 1
    assert (GRPO()(easy).values < 0).sum() == 2
    assert (GAPO(0.5)(easy).values < 0).sum() == 4


def test_right_skewed_group_has_fewer_negative_advantages_than_under_grpo():
    hard = np.array([[0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.5, 0.9]])  # mean .2; Q = 0
    assert (GRPO()(hard).values < 0).sum() == 6
    assert (GAPO(0.5)(hard).values < 0).sum() == 0


def test_outlier_does_not_move_the_baseline():
    group = np.array([[0.5, 0.5625, 0.625, 0.6875, 0.75, 0.0], [0.5, 0.5625, 0.625, 0.6875, 0.75, 0.25]])
    assert np.ptp(GAPO(0.5)(group).baseline) == 0
    assert np.ptp(GRPO()(group).baseline) > 0.04


def test_epsilon_is_added_to_the_divisor():
    # hand: Q = 0, sqrt((2e-6)^2 / 1) = 2e-6, and 2e-6 / (2e-6 + 1e-6) = 2/3
    np.testing.assert_allclose(GAPO(0.5)(np.array([[0.0, 2e-6]])).values, [[0, 2 / 3]], rtol=1e-9)
    # hand: mean 1e-6, std sqrt(2) * 1e-6, and 1 / (sqrt(2) + 1) = sqrt(2) - 1
    np.testing.assert_allclose(GRPO()(np.array([[0.0, 2e-6]])).values, [[1 - 2**0.5, 2**0.5 - 1]], rtol=1e-9)


@pytest.mark.parametrize("estimator", [GAPO, GAPOMean, GAPOMedianStd])
@pytest.mark.parametrize("tau", [1.7, 0, 0.0, -0.5, float("nan"), float("inf"), "half", None])
def test_tau_outside_its_range_is_refused_in_one_sentence(estimator, tau):
    with pytest.raises(UserError) as raised:
        estimator(tau=tau)
    assert str(raised.value) == f"tau={tau}: need 0 < tau <= 1"


@pytest.mark.parametrize("quantile", [1.7, 0, float("nan"), "median"])
def test_quantile_outside_its_range_is_refused_in_one_sentence(quantile):
    with pytest.raises(UserError) as raised:
        Quantile(quantile=quantile)
    assert str(raised.value) == f"quantile={quantile}: need 0 < quantile <= 1"


def test_opo_without_lengths_says_what_it_needs():
    with pytest.raises(UserError, match="estimator=opo weighs rewards by completion length and got no lengths"):
        OPO()(np.array([[0.0, 1.0]]))


def test_opo_refuses_a_completion_of_no_tokens():
    with pytest.raises(UserError, match="estimator=opo got a completion length of 0"):
        OPO()(np.array([[0.0, 1.0]]), np.array([[3, 0]]))


def test_opo_refuses_lengths_of_another_shape():
    with pytest.raises(ValueError, match=r"lengths have shape \(2, 1\)"):
        OPO()(np.array([[0.0, 1.0]]), np.array([[3], [4]]))
