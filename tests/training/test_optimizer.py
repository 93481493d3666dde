"""The learning rate schedule and what an optimizer step does with a bad or missing gradient."""

import math

import pytest
import torch

from gapo_cli.config import OptimizerConfig
from gapo_cli.errors import CheckpointError
from gapo_cli.training.optimizer import Optimizer, learning_rate


def parameters(*sizes):
    return [torch.nn.Parameter(torch.arange(1.0, size + 1)) for size in sizes]


def test_rate_rises_over_the_warm_up_and_stays():
    config = OptimizerConfig(learning_rate=0.8, warmup_steps=4)
    assert [learning_rate(config, update, 100) for update in (0, 1, 2, 3, 4, 99)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_without_warm_up_the_first_rate_is_the_full_one():
    assert learning_rate(OptimizerConfig(learning_rate=0.5, warmup_steps=0), 0, 10) == 0.5


def test_rate_falls_from_its_share_of_the_run_to_the_final_fraction():
    # ten updates, falling from the end of the 5th: the 6th has fallen by 1/5 of the way from 1 to .1, the last all of it
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=0, decay_from=0.5, final_fraction=0.1)
    rates = [learning_rate(config, update, 10) for update in range(11)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 0.82, 0.64, 0.46, 0.28, 0.1, 0.1])


def test_a_step_moves_against_the_gradient_and_clears_it():
    # Adam's first step is the rate times the gradient's sign
    (weights,) = parameters(3)
    optimizer = Optimizer([weights], OptimizerConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.0), 10)
    weights.grad = torch.tensor([3.0, -4.0, 0.0])
    result = optimizer.step()
    assert weights.tolist() == pytest.approx([0.9, 2.1, 3.0])
    assert (result.grad_norm, result.learning_rate, result.skipped) == (5.0, 0.1, False)
    assert weights.grad is None


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(broken):
    (weights,) = parameters(2)
    optimizer = Optimizer([weights], OptimizerConfig(learning_rate=0.1), 10)
    weights.grad = torch.tensor([1.0, broken])
    assert optimizer.step().skipped
    assert weights.tolist() == [1.0, 2.0]
    assert weights.grad is None
    assert optimizer.tensors() == {}
    assert optimizer.updates == 1


def test_a_step_without_any_gradient_is_one_with_zeros():
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=0)
    (absent,), (zero,) = parameters(2), parameters(2)
    ends = []
    for weights in (absent, zero):
        optimizer = Optimizer([weights], config, 10)
        weights.grad = torch.ones(2)
        optimizer.step()
        if weights is zero:
            weights.grad = torch.zeros(2)
        optimizer.step()
        ends.append(weights.tolist())
    assert ends[0] == ends[1]


def test_gradients_are_clipped_to_the_norm():
    # norm 5 is clipped to 1: what Adam remembers is a tenth (1 - beta1) of (.6, -.8)
    (weights,) = parameters(2)
    optimizer = Optimizer([weights], OptimizerConfig(learning_rate=0.1, max_grad_norm=1.0), 10)
    weights.grad = torch.tensor([3.0, -4.0])
    optimizer.step()
    assert optimizer.tensors()["0.exp_avg"].tolist() == pytest.approx([0.06, -0.08], rel=1e-5)


def test_a_restored_optimizer_goes_on_as_the_first():
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=3)
    first = Optimizer(parameters(2, 3), config, 10)
    for number in range(4):
        if number == 2:
            copies = [torch.nn.Parameter(weights.detach().clone()) for weights in first.parameters]
            again = Optimizer(copies, config, 10)
            again.restore({name: value.clone() for name, value in first.tensors().items()}, first.updates)
        for optimizer in [first] if number < 2 else [first, again]:
            for weights in optimizer.parameters:
                weights.grad = torch.full_like(weights, number - 1.5)
            optimizer.step()
    assert [weights.tolist() for weights in again.parameters] == [weights.tolist() for weights in first.parameters]
    assert again.updates == 4


def test_the_state_of_another_model_is_refused():
    config = OptimizerConfig(learning_rate=0.1)
    first, other = Optimizer(parameters(2), config, 10), Optimizer(parameters(3), config, 10)
    first.parameters[0].grad = torch.ones(2)
    first.step()
    with pytest.raises(CheckpointError, match="another model"):
        other.restore(first.tensors(), 1)


def test_frozen_parameters_are_left_alone():
    trained, frozen = parameters(2, 2)
    frozen.requires_grad_(False)
    optimizer = Optimizer([trained, frozen], OptimizerConfig(learning_rate=0.1), 10)
    trained.grad = torch.ones(2)
    optimizer.step()
    assert frozen.tolist() == [1.0, 2.0]
