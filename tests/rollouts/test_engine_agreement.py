"""Engines that sample from other weights than the trainer's are found before anything is learnt from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from parts import edit_task

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import UserError
from gapo_cli.models.load import load_model
from gapo_cli.records import Group
from gapo_cli.rollouts.engine_agreement import TOLERANCE, check_engine_logprobs, choose, recomputes_logprobs

SAMPLING = SamplingConfig(group_size=4, max_new_tokens=12, temperature=0.7)
GRPO = AlgorithmConfig(name="grpo")


def sampled_groups(engine, count=6):
    prompts = [tuple(range(40, 47 + index)) for index in range(count)]
    zeros = np.zeros(SAMPLING.group_size)
    answers = engine.generate(prompts, SAMPLING, list(range(count)))
    return [
        Group(edit_task(index), prompt, completions, {}, zeros, zeros)
        for index, (prompt, completions) in enumerate(zip(prompts, answers, strict=True))
    ]


def moved(policy, by):
    """The policy after an update that moved every weight by `by`, up or down."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator).sign())
    return policy


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_engine_with_the_trainers_weights_agrees_within_rounding(tiny_config, dtype):
    policy = load_model(tiny_config, dtype=dtype)
    engine = TorchEngine(policy, 64)
    row = check_engine_logprobs(engine, policy, sampled_groups(engine), SAMPLING.temperature)
    assert row.keys() == {"training/rollout_logprobs_diff_mean", "training/rollout_logprobs_diff_max"}
    assert 0 < row["training/rollout_logprobs_diff_mean"] < TOLERANCE[dtype] / 3
    assert row["training/rollout_logprobs_diff_mean"] < row["training/rollout_logprobs_diff_max"]


@pytest.mark.slow
def test_an_engine_that_was_not_synced_stops_the_run(tiny_policy, tiny_config):
    engine = TorchEngine(load_model(tiny_config), 64)  # a copy of the weights
    groups = sampled_groups(engine)
    check_engine_logprobs(engine, tiny_policy, groups, SAMPLING.temperature)
    # as far as one step at the shipped learning rate moves a weight
    trained = moved(tiny_policy, 3e-4)
    # 3e-4 a weight moves the log-probabilities of this wide-spread model by about 1e-2
    words = r"does not sample from the trainer's weights: the log-probabilities of \d+ tokens .* differ .* by 0.0\d+ on average"
    with pytest.raises(UserError, match=words) as caught:
        check_engine_logprobs(engine, trained, groups, SAMPLING.temperature)
    assert "trainer.logprob_tolerance allows 0.0002" in str(caught.value)
    engine.sync(trained)
    check_engine_logprobs(engine, trained, sampled_groups(engine), SAMPLING.temperature)


@pytest.mark.slow
def test_the_temperature_is_part_of_what_is_compared(tiny_policy):
    engine = TorchEngine(tiny_policy, 64)
    with pytest.raises(UserError, match="does not sample from the trainer's weights"):
        check_engine_logprobs(engine, tiny_policy, sampled_groups(engine), 1.0)


def test_a_coarse_engine_is_given_its_dtypes_tolerance_and_a_setting_goes_before_it(tiny_policy, tiny_config):
    engine = TorchEngine(load_model(tiny_config), 64)
    groups = sampled_groups(engine)
    trained = moved(tiny_policy, 1e-3)
    engine.dtype = "bfloat16"
    check_engine_logprobs(engine, trained, groups, SAMPLING.temperature)
    with pytest.raises(UserError, match="trainer.logprob_tolerance allows 1e-06"):
        check_engine_logprobs(engine, trained, groups, SAMPLING.temperature, tolerance=1e-6)


@pytest.mark.slow
def test_log_probabilities_that_are_no_numbers_are_no_agreement(tiny_policy):
    engine = TorchEngine(tiny_policy, 64)
    groups = [
        replace(
            group, completions=tuple(replace(one, logprobs=(float("nan"),) * len(one.logprobs)) for one in group.completions)
        )
        for group in sampled_groups(engine)
    ]
    with pytest.raises(UserError, match="by nan on average"):
        check_engine_logprobs(engine, tiny_policy, groups, SAMPLING.temperature, tolerance=100.0)


def test_an_engine_without_log_probabilities_cannot_be_trained_with(tiny_policy):
    engine = TorchEngine(tiny_policy, 64)
    groups = [
        replace(group, completions=tuple(replace(one, logprobs=()) for one in group.completions))
        for group in sampled_groups(engine)
    ]
    with pytest.raises(UserError, match=r"gave 0 log-probabilities for \d+ tokens of task task-0"):
        check_engine_logprobs(engine, tiny_policy, groups, SAMPLING.temperature)


@pytest.mark.slow
def test_what_is_compared_comes_from_all_over_the_batch(tiny_policy):
    groups = sampled_groups(TorchEngine(tiny_policy, 64), count=9)
    # linspace(0, 8, 3): groups 0, 4, 8; of four completions each those at 0 % 4, 4 % 4, 8 % 4; of nine chosen, one a group
    assert [group.task.id for group, _ in choose(groups, 3)] == ["task-0", "task-4", "task-8"]
    assert [completion for _, completion in choose(groups, 9)] == [
        group.completions[index % 4] for index, group in enumerate(groups)
    ]
    assert len(choose(groups[:2], 8)) == 2
    assert choose([], 8) == []


def test_old_log_probabilities_are_the_trainers_unless_the_engine_shares_its_weights(tiny_policy, trainer):
    class Separate:
        """An engine that says nothing of itself."""

    sharing = TorchEngine(tiny_policy, 64)
    assert recomputes_logprobs(trainer, GRPO, Separate())
    assert not recomputes_logprobs(trainer, GRPO, sharing)
    assert recomputes_logprobs(trainer, replace(GRPO, importance_cap=2.0), sharing)
    for said in (True, False):
        for engine in (Separate(), sharing):
            assert recomputes_logprobs(replace(trainer, recompute_logprobs=said), GRPO, engine) is said
