"""The value loss against numbers worked out by hand, and its gradient."""

import pytest
import torch

from gapo_cli.training.objectives.aggregation import token_weights
from gapo_cli.training.objectives.value import value_loss

OLD = torch.tensor([0.2, 0.1, 0.5])
RETURNS = torch.tensor([1.0, 0.0, 0.25])
WEIGHTS = torch.full((3,), 1 / 3)


def loss_at(values, clip=0.5):
    values = torch.tensor(values, requires_grad=True)
    found = value_loss(values, OLD, RETURNS, WEIGHTS, clip)
    found.loss.backward()
    return found, values.grad


def test_the_loss_is_half_the_larger_of_two_squares():
    found, gradient = loss_at([0.9, 0.2, 0.5])
    # token 1 has moved .7, of which .5 count: (.7 - 1)² = .09 is more than (.9 - 1)² = .01, and has no gradient
    # token 2: (.2 - 0)² = .04, token 3: (.5 - .25)² = .0625. Half of their mean:
    assert float(found.loss.detach()) == pytest.approx(0.5 * (0.09 + 0.04 + 0.0625) / 3)
    assert float(found.clip_fraction) == pytest.approx(1 / 3)
    assert float(found.value) == pytest.approx((0.9 + 0.2 + 0.5) / 3)
    assert gradient.tolist() == pytest.approx([0.0, 0.2 / 3, 0.25 / 3])


def test_a_value_that_moved_away_from_its_return_is_not_held_back():
    found, gradient = loss_at([-0.6, 0.1, 0.5])
    # moved -.8: (-.6 - 1)² = 2.56 is more than (-.3 - 1)² = 1.69
    assert float(found.clip_fraction) == 0.0
    assert float(gradient[0]) == pytest.approx(-1.6 / 3)


def test_without_a_clip_it_is_half_the_squared_error():
    found, gradient = loss_at([0.9, 0.2, 0.5], clip=None)
    assert float(found.loss.detach()) == pytest.approx(0.5 * (0.01 + 0.04 + 0.0625) / 3)
    assert gradient.tolist() == pytest.approx([-0.1 / 3, 0.2 / 3, 0.25 / 3])
    assert float(found.clip_fraction) == 0.0


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("token-mean", 0.16478538), ("seq-mean-token-mean", 0.25643334), ("seq-mean-token-sum", 0.32957077)],
)
def test_the_loss_is_verls(aggregation, expected):
    """What compute_value_loss of verl 0.9.1 (cliprange_value 0.5) gave for three answers of 3, 1 and 2 tokens."""
    values_old = torch.tensor([0.5, 0.25, 0.75, 1.0, -0.25, 0.125])
    returns = torch.tensor([0.69956875, 0.95124996, 1.0, 0.5, 0.21937501, 0.25])
    values = torch.tensor([0.9, 0.9, 0.5, -0.6, 0.1, 0.9])
    lengths = torch.tensor([3, 1, 2])
    weights = token_weights(lengths, aggregation).repeat_interleave(lengths)
    found = value_loss(values, values_old, returns, weights, 0.5)
    assert float(found.loss) == pytest.approx(expected)
    if aggregation == "token-mean":
        assert float(found.clip_fraction) == pytest.approx(1 / 6)
