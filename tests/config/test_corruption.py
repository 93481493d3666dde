"""Corrupted rewards."""

import numpy as np
import pytest

from gapo_cli.config.corruption import KINDS, Corruption
from gapo_cli.errors import UserError

REWARDS = np.array([0.25, 1.0, np.nan, 0.0])
DRAWS = np.array([0.01, 0.2, 0.01, 0.04])
VALUES = np.array([0.5, 0.6, 0.7, 0.8])


@pytest.mark.parametrize(
    ("kind", "first", "last"), [("flip", 0.75, 1.0), ("uniform", 0.5, 0.8), ("zero", 0.0, 0.0), ("one", 1.0, 1.0)]
)
def test_a_reward_whose_draw_is_below_the_probability_is_replaced_and_a_missing_one_stays_missing(kind, first, last):
    seen = Corruption(kind, 0.05).apply(REWARDS, DRAWS, VALUES)
    assert seen[[0, 1, 3]].tolist() == [first, 1.0, last]
    assert np.isnan(seen[2])


def test_more_probability_corrupts_the_same_and_more():
    draws = np.random.default_rng(0).random(1000)
    few, many = Corruption("flip", 0.05).chosen(draws), Corruption("flip", 0.2).chosen(draws)
    assert few.sum() < many.sum()
    assert not (few & ~many).any()


def test_another_kind_or_probability_is_refused():
    with pytest.raises(UserError, match="reward.corruption.probability=1.5: need 0 to 1"):
        Corruption("flip", 1.5)
    with pytest.raises(UserError, match="reward.corruption.kind=flop: need one of flip"):
        Corruption("flop", 0.5)
    assert set(KINDS) == {"flip", "uniform", "zero", "one"}
