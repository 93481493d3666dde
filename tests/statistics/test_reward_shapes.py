"""Reward shapes of groups, on groups whose moments can be worked out by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from gapo_cli.statistics.reward_shapes import SHAPES, UNKNOWN, _rank_correlation, group_shapes, shape_shares

NAN = float("nan")


@pytest.mark.parametrize(
    ("rewards", "shape"),
    [
        # one 1 in eight: mean 1/8, skew (1-2p)/sqrt(p(1-p)) = .75/.3307 = 2.27
        ([0, 0, 0, 0, 0, 0, 0, 1], "right"),
        ([1, 1, 1, 1, 1, 1, 1, 0], "left"),
        # quantiles of a bell: every test passes but, perhaps, kurtosis
        ([0.1, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.8], "normal"),
        # five values, so four tests. mean .48, median .4, std .407: the centre fails (.08 > .041), so does the kurtosis
        # (1.30 - 3 = -1.70) and the shares (2 of 5 within one std); only the skew, .14, passes
        ([0.0, 0.1, 0.4, 0.9, 1.0], "symmetric"),
        ([0.3] * 8, "zero"),
        # within 1e-9 of each other
        ([0.1 + 0.2, 0.3, 0.3, 0.3], "zero"),
        # what is missing is left out: the rest is constant
        ([NAN, 0.4, 0.4, NAN], "zero"),
        # what shows no shape has none
        ([NAN] * 4, UNKNOWN),
        ([NAN, NAN, NAN, 0.4], UNKNOWN),
    ],
)
def test_shape_of_a_group(rewards, shape):
    assert group_shapes(np.array([rewards])).tolist() == [shape]


def test_the_rank_correlation_is_spearmans_where_rewards_are_equal_too():
    ordered = np.sort(np.random.default_rng(0).integers(0, 5, (20, 9)) / 4, axis=1)
    assert _rank_correlation(ordered) == pytest.approx([spearmanr(row, np.arange(9)).statistic for row in ordered])


def test_missing_rewards_do_not_change_the_shape_of_the_others():
    full = np.array([[0, 0, 0, 0, 0, 0, 0, 1.0]])
    holed = np.array([[0, NAN, 0, 0, 0, 0, NAN, 0, 0, 1.0]])
    assert group_shapes(full).tolist() == group_shapes(holed).tolist() == ["right"]


def test_mirrored_rewards_swap_left_and_right():
    rewards = np.random.default_rng(0).integers(0, 65, (200, 8)) / 64
    swapped = {"left": "right", "right": "left"}
    assert group_shapes(1 - rewards).tolist() == [swapped.get(shape, shape) for shape in group_shapes(rewards)]


def test_order_within_a_group_does_not_matter():
    rewards = np.random.default_rng(1).integers(0, 65, (100, 8)) / 64
    assert group_shapes(rewards[:, ::-1]).tolist() == group_shapes(rewards).tolist()


def test_shares_add_up_to_one():
    rewards = np.random.default_rng(2).integers(0, 3, (300, 4)) / 2
    shares = shape_shares(group_shapes(rewards))
    assert tuple(shares) == SHAPES
    assert sum(shares.values()) == pytest.approx(1)


def test_groups_of_unknown_shape_are_in_no_share():
    rewards = np.array([[0.5, 0.5], [0.5, NAN], [NAN, NAN]])
    assert shape_shares(group_shapes(rewards)) == {"normal": 0, "left": 0, "right": 0, "symmetric": 0, "zero": 1}
    assert shape_shares(group_shapes(rewards[1:])) == shape_shares(group_shapes(np.zeros((0, 8)))) == {}


def test_a_flat_list_of_rewards_is_refused():
    with pytest.raises(ValueError, match="groups, completions"):
        group_shapes(np.zeros(8))
