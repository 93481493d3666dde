"""The learning rate schedule and what an optimizer step does with a bad or missing gradient."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.models.policy import load_policy
from gapo_cli.training.learners.optimizer import Optimizer, learning_rate


def parameters(*sizes):
    return [torch.nn.Parameter(torch.arange(1.0, size + 1)) for size in sizes]


def test_rate_rises_over_the_warm_up_and_stays():
    config = OptimizerConfig(learning_rate=0.8, warmup_steps=4)
    assert [learning_rate(config, update, 100) for update in (0, 1, 2, 3, 4, 99)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]
    )


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


EIGHT_BIT = OptimizerConfig(learning_rate=0.01, warmup_steps=0, weight_decay=0.1, name="adamw_8bit")


def gradients(step):
    generator = torch.Generator().manual_seed(step)
    return {size: torch.randn(size, generator=generator) for size in ((64, 128), (10,))}


def run(optimizer, steps):
    for step in steps:
        for weights in optimizer.parameters:
            weights.grad = gradients(step)[tuple(weights.shape)]
        optimizer.step()


def weights_of_two_sizes(large=1):
    # 8,192 numbers, and 10, too few for 8 bits
    return [*(torch.nn.Parameter(torch.ones(64, 128)) for _ in range(large)), torch.nn.Parameter(torch.ones(10))]


def test_eight_bits_a_moment_take_nearly_the_steps_of_float32():
    pytest.importorskip("bitsandbytes", reason="the extra 8bit is not installed")
    eight, full = (Optimizer(weights_of_two_sizes(), replace(EIGHT_BIT, name=name), 100) for name in ("adamw_8bit", "adamw"))
    for optimizer in (eight, full):
        run(optimizer, range(20))
    moved = [(optimizer.parameters[0] - 1).detach() for optimizer in (eight, full)]
    assert (moved[0] - moved[1]).norm() / moved[1].norm() < 0.03
    assert torch.allclose(eight.parameters[1], full.parameters[1], atol=1e-6)
    tensors = eight.tensors()
    assert tensors["0.state1"].dtype == tensors["0.state2"].dtype == torch.uint8
    # a scale for each 256 numbers, for both moments: 2 + 8/256 bytes a number, which gapo plan counts with
    assert tensors["0.absmax1"].numel() == tensors["0.absmax2"].numel() == 8192 // 256


def test_a_restored_optimizer_of_eight_bits_goes_on_as_the_first(tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra 8bit is not installed")
    first = Optimizer(weights_of_two_sizes(large=2), EIGHT_BIT, 100)
    run(first, range(3))
    save_file(first.tensors(), tmp_path / "state.safetensors")
    again = Optimizer([torch.nn.Parameter(weights.detach().clone()) for weights in first.parameters], EIGHT_BIT, 100)
    again.restore(load_file(tmp_path / "state.safetensors"), first.updates)
    for optimizer in (first, again):
        run(optimizer, range(3, 6))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first.parameters, again.parameters, strict=True))
    other = Optimizer(weights_of_two_sizes(large=2), replace(EIGHT_BIT, name="adamw"), 100)
    with pytest.raises(
        CheckpointError, match="the checkpoint's optimizer is not adamw; give the optimizer.name that it was trained with"
    ):
        other.restore(first.tensors(), 3)


def test_without_its_package_the_optimizer_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"optimizer.name=adamw_8bit needs: pip install 'gapo-cli\[8bit\]'"):
        Optimizer(parameters(2), EIGHT_BIT, 10)


def test_steps_too_small_for_half_precision_are_not_lost(tiny_config):
    # with trainer.dtype=bfloat16 passes compute in half precision; the weights, their gradients and moments are float32
    policy = load_policy(tiny_config, TrainerConfig(1, 1, 1, EIGHT_BIT, dtype="bfloat16"))
    weight = policy.model.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    optimizer = Optimizer(policy.model.parameters(), OptimizerConfig(learning_rate=1e-6, warmup_steps=0, weight_decay=0.0), 100)
    for _ in range(10):
        with policy.autocast():
            logits = policy.model(torch.tensor([[5, 6, 7, 8]])).logits
            assert logits.dtype == torch.bfloat16
        logits.float().log_softmax(-1)[0, :, 9].sum().neg().backward()
        assert {parameter.grad.dtype for parameter in policy.model.parameters()} == {torch.float32}
        optimizer.step()
    moved = (weight - before).abs()
    # Adam's steps are about the rate: ten of them, each far below what bfloat16 tells apart near most of the weights
    assert 5e-6 < moved.median() < 1.1e-5
    assert (moved < before.abs() / 256).float().mean() > 0.9
    assert (weight.bfloat16() == before.bfloat16()).float().mean() > 0.9
    assert {value.dtype for name, value in optimizer.tensors().items()} == {torch.float32}
