"""What holds for every estimator: degenerate groups, missing rewards, order, shift, scale, batches, bad input."""

import numpy as np
import pytest
from estimator_parts import NAMES, build
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gapo_cli.errors import UserError
from gapo_cli.records import Advantages

NOT_DIVIDED = {"dr_grpo", "rloo", "opo"}
AROUND_THEIR_MEAN = {"grpo", "dr_grpo", "rloo"}

estimators = pytest.mark.parametrize("name", NAMES)


@st.composite
def reward_batches(draw: st.DrawFn, largest_group: int = 12) -> np.ndarray:
    """(B, G) of multiples of 1/64 in [0, 1]: sums and differences of them are exact, so ties stay ties."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(2, largest_group)))
    return draw(arrays(np.int64, shape, elements=st.integers(0, 64))) / 64


def estimate(name: str, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
    if lengths is None:
        lengths = np.full(np.shape(rewards), 7)
    return build(name)(rewards, lengths)


@estimators
@given(rewards=reward_batches(), seed=st.integers(0, 2**32 - 1))
def test_order_of_completions_permutes_the_advantages_and_changes_no_bit_of_them(name, rewards, seed):
    order = np.random.default_rng(seed).permutation(rewards.shape[1])
    lengths = np.arange(1, rewards.size + 1).reshape(rewards.shape)
    straight, permuted = estimate(name, rewards, lengths), estimate(name, rewards[:, order], lengths[:, order])
    assert np.array_equal(permuted.values, straight.values[:, order])
    assert np.array_equal(permuted.baseline, straight.baseline)


@estimators
@given(rewards=reward_batches(), shift=st.integers(-128, 128))
def test_shifted_rewards_have_the_same_advantages_and_a_shifted_baseline(name, rewards, shift):
    straight, shifted = estimate(name, rewards), estimate(name, rewards + shift / 64)
    np.testing.assert_allclose(shifted.values, straight.values, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(shifted.baseline, straight.baseline + shift / 64, atol=1e-12)


@estimators
@given(rewards=reward_batches(), factor=st.sampled_from([0.25, 2.0, 8.0]))
def test_scaled_rewards_scale_the_advantages_only_where_nothing_divides(name, rewards, factor):
    straight, scaled = estimate(name, rewards).values, estimate(name, rewards * factor).values
    if name in NOT_DIVIDED:
        np.testing.assert_allclose(scaled, straight * factor, rtol=1e-12)
    else:
        # 1e-6 beside a divisor of at least 0.25 / 64 / sqrt(12) = 0.0011 is less than one part in a thousand
        np.testing.assert_allclose(scaled, straight, rtol=1e-3)


@pytest.mark.slow
@estimators
@given(rewards=reward_batches(), data=st.data())
def test_missing_reward_equals_the_group_without_it(name, rewards, data):
    missing = data.draw(arrays(np.bool_, rewards.shape))
    lengths = np.arange(1, rewards.size + 1).reshape(rewards.shape)
    result = estimate(name, np.where(missing, np.nan, rewards), lengths)
    assert not result.values[missing].any()
    for group in range(len(rewards)):
        kept = ~missing[group]
        if not kept.any():
            assert np.isnan([result.baseline[group], result.low[group], result.high[group]]).all()
            continue
        alone = estimate(name, rewards[group : group + 1, kept], lengths[group : group + 1, kept])
        np.testing.assert_allclose(result.values[group, kept], alone.values[0], rtol=1e-12, atol=1e-12)
        for field in ("baseline", "low", "high"):
            np.testing.assert_allclose(getattr(result, field)[group], getattr(alone, field)[0], rtol=1e-12)


@estimators
@given(rewards=reward_batches())
def test_advantages_rise_with_the_reward_and_are_finite(name, rewards):
    values = estimate(name, rewards).values
    assert np.isfinite(values).all()
    order = np.argsort(rewards, axis=1)
    assert (np.diff(np.take_along_axis(values, order, axis=1), axis=1) >= -1e-12).all()


@estimators
@given(rewards=reward_batches())
def test_group_does_not_depend_on_the_others_of_its_batch(name, rewards):
    together = estimate(name, rewards)
    for group, own in enumerate(rewards):
        np.testing.assert_allclose(together.values[group], estimate(name, own[None]).values[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(AROUND_THEIR_MEAN))
@given(rewards=reward_batches())
def test_advantages_around_the_mean_sum_to_zero(name, rewards):
    np.testing.assert_allclose(estimate(name, rewards).values.sum(axis=1), 0, atol=1e-9)


@estimators
def test_group_of_equal_rewards_has_zero_advantage(name):
    # neither 0.7 nor 1/3 is a float: their mean of 7 is not exactly themselves, and x / (0 + 1e-6) would not be 0
    rewards = np.repeat([[0.7], [1 / 3], [0.0], [1.0]], 7, axis=1)
    assert not estimate(name, rewards).values.any()


@estimators
def test_group_within_a_billionth_is_a_group_of_equal_rewards(name):
    rewards = np.array([[0.3, 0.1 + 0.2, 0.3 + 9e-10], [0.3, 0.1 + 0.2, 0.3 + 2e-9]])
    values = estimate(name, rewards).values
    assert not values[0].any()
    assert values[1].any()


@estimators
def test_group_of_one_has_zero_advantage_and_a_finite_baseline(name):
    result = estimate(name, np.array([[0.25], [1.0]]))
    assert result.values.tolist() == [[0.0], [0.0]]
    assert result.baseline.tolist() == [0.25, 1.0]


@estimators
def test_group_with_one_reward_left_has_zero_advantage(name):
    result = estimate(name, np.array([[np.nan, 0.25, np.nan], [0.0, 0.5, 1.0]]))
    assert result.values[0].tolist() == [0.0, 0.0, 0.0]
    assert result.values[1].any()


@estimators
def test_group_without_any_reward_has_zero_advantage_and_no_baseline(name):
    result = estimate(name, np.full((2, 3), np.nan))
    assert result.values.tolist() == [[0.0] * 3] * 2
    assert np.isnan(result.baseline).all()


@estimators
def test_no_groups_at_all_have_no_advantages(name):
    assert estimate(name, np.zeros((0, 4))).values.shape == (0, 4)


@estimators
def test_result_is_float64_and_the_rewards_stay_as_they_were(name):
    for kind in (np.float32, np.float64):
        for rewards in (np.array([[0.0, 1.0, 0.5]], dtype=kind), np.array([[0.0, 1.0], [0.5, np.nan]], dtype=kind)):
            before = rewards.copy()
            result = estimate(name, rewards)
            assert {part.dtype for part in (result.values, result.baseline, result.low, result.high)} == {np.dtype(np.float64)}
            assert np.array_equal(rewards, before, equal_nan=True)


@estimators
def test_integer_rewards_are_taken_as_numbers(name):
    assert np.array_equal(estimate(name, np.array([[0, 1, 1]])).values, estimate(name, np.array([[0.0, 1.0, 1.0]])).values)


@estimators
def test_infinite_reward_is_refused(name):
    with pytest.raises(UserError, match="a reward is infinite"):
        estimate(name, np.array([[0.0, np.inf, np.nan]]))


@estimators
def test_rewards_that_are_not_groups_are_refused(name):
    with pytest.raises(ValueError, match=r"shape \(3,\): need \(groups, completions\)"):
        estimate(name, np.array([0.0, 0.5, 1.0]))
