"""Generalised advantages and returns against numbers worked out by hand, and what must hold of any values."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.training.objectives.returns import explained_variance, generalised_advantages, whitened

REWARDS = torch.tensor([0.0, 0.0, 1.0, 0.5])
VALUES = torch.tensor([0.5, 0.25, 0.75, 1.0])
LENGTHS = [3, 1]


def test_advantages_and_returns_are_those_worked_out_by_hand():
    advantages, returns = generalised_advantages(REWARDS, VALUES, LENGTHS, gamma=1.0, gae_lambda=0.5)
    # token 3: 1 - .75 = .25. Token 2: (.75 - .25) + .5 * .25 = .625. Token 1: (.25 - .5) + .5 * .625 = .0625
    # the second completion has one token: .5 - 1
    assert advantages.tolist() == [0.0625, 0.625, 0.25, -0.5]
    # advantage + value
    assert returns.tolist() == [0.5625, 0.875, 1.0, 0.5]


def test_a_discount_counts_later_values_and_rewards_less():
    advantages, returns = generalised_advantages(REWARDS, VALUES, LENGTHS, gamma=0.5, gae_lambda=0.5)
    # token 2: (.5 * .75 - .25) + .25 * .25 = .1875. Token 1: (.5 * .25 - .5) + .25 * .1875 = -.328125
    assert advantages.tolist() == [-0.328125, 0.1875, 0.25, -0.5]
    assert returns.tolist() == [0.171875, 0.4375, 1.0, 0.5]


def test_with_lambda_one_an_advantage_is_what_is_earned_from_there_on_minus_the_value():
    rewards = torch.tensor([0.25, -0.5, 1.0, 0.5])
    advantages, returns = generalised_advantages(rewards, VALUES, LENGTHS, gamma=1.0, gae_lambda=1.0)
    assert returns.tolist() == [0.75, 0.5, 1.0, 0.5]
    assert advantages.tolist() == [0.25, 0.25, 0.25, -0.5]


def test_with_lambda_zero_an_advantage_looks_one_token_ahead():
    advantages, _ = generalised_advantages(REWARDS, VALUES, LENGTHS, gamma=1.0, gae_lambda=0.0)
    assert advantages.tolist() == [-0.25, 0.5, 0.25, -0.5]


def test_advantages_are_verls():
    """What compute_gae_advantage_return of verl 0.9.1 (gamma 0.9, lam 0.95) gave for these numbers; it whitens what it returns."""
    rewards = torch.tensor([-0.125, 0.0625, 1.0, 0.5, 0.0, 0.25])
    values = torch.tensor([0.5, 0.25, 0.75, 1.0, -0.25, 0.125])
    advantages, returns = generalised_advantages(rewards, values, [3, 1, 2], gamma=0.9, gae_lambda=0.95)
    assert returns.tolist() == pytest.approx([0.69956875, 0.95124996, 1.0, 0.5, 0.21937501, 0.25])
    assert whitened(advantages).tolist() == pytest.approx(
        [-0.01964548, 1.21796167, 0.10476442, -1.74542511, 0.64594489, -0.20360050], abs=1e-6
    )


sixteenths = st.integers(-32, 32).map(lambda count: count / 16)


@given(
    st.lists(st.lists(st.tuples(sixteenths, sixteenths), min_size=1, max_size=6), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_completions_do_not_see_each_other(completions, gae_lambda):
    def of(some):
        rewards, values = (torch.tensor([pair[place] for one in some for pair in one]) for place in (0, 1))
        return generalised_advantages(rewards, values, [len(one) for one in some], 1.0, gae_lambda)[0]

    together = of(completions)
    alone = torch.cat([of([one]) for one in completions])
    assert together.tolist() == alone.tolist()


def test_a_missing_reward_stays_with_its_completion():
    rewards = torch.tensor([torch.nan, torch.nan, 1.0])
    advantages, _ = generalised_advantages(rewards, torch.zeros(3), [2, 1], 1.0, 0.95)
    assert advantages.isnan().tolist() == [True, True, False]


def test_whitened_advantages_have_mean_zero_and_standard_deviation_one():
    # 1, 2, 3: mean 2, variance (1 + 0 + 1) / 2 = 1
    assert whitened(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([-1.0, 0.0, 1.0])
    assert whitened(torch.tensor([0.5, 0.5])).tolist() == [0.0, 0.0]
    assert whitened(torch.tensor([3.0])).tolist() == [0.0]


def test_explained_variance_is_one_for_right_values_and_zero_for_a_constant():
    returns = torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.full((4,), 0.3), returns) == pytest.approx(0.0, abs=1e-6)
    # returns minus values: 0, 2, 2, 0, of variance 1; the returns' is 1/4
    assert explained_variance(-returns, returns) == -3.0
    assert explained_variance(returns, torch.ones(4)) is None
