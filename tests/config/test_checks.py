"""Each section refuses numbers that would train in reverse, or not at all, with a sentence that names them."""

import pytest

from gapo_cli.config.algorithm import AlgorithmConfig, OverlongConfig
from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig
from gapo_cli.errors import UserError


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"learning_rate": -1.0}, "optimizer.learning_rate=-1.0: need a number above 0"),
        ({"learning_rate": 1.0, "warmup_steps": -3}, "optimizer.warmup_steps=-3: need 0 or more"),
        ({"learning_rate": 1.0, "betas": (1.5, 0.9)}, r"optimizer.betas=\[1.5, 0.9\]: need two numbers from 0 to below 1"),
        ({"learning_rate": 1.0, "weight_decay": -0.1}, "optimizer.weight_decay=-0.1: need 0 or more"),
        ({"learning_rate": 1.0, "final_fraction": -2.0}, "optimizer.final_fraction=-2.0: need 0 to 1"),
        ({"learning_rate": 1.0, "decay_from": 1.5}, "optimizer.decay_from=1.5: need 0 to 1"),
        ({"learning_rate": 1.0, "max_grad_norm": 0.0}, "optimizer.max_grad_norm=0.0: need a number above 0"),
    ],
)
def test_an_optimizer_that_cannot_train_is_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        OptimizerConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"importance_cap": -1.0}, "algorithm.importance_cap=-1.0: need a number above 0"),
        ({"clip_low": 1.0}, "algorithm.clip_low=1.0: need 0 <= clip_low < 1"),
        ({"dual_clip": 1.0}, "algorithm.dual_clip=1.0: need more than 1"),
        ({"aggregation": "token_mean"}, "algorithm.aggregation=token_mean: .*token-mean"),
        ({"aggregation": "constant"}, "needs algorithm.constant_divisor above 0"),
        ({"max_generation_rounds": 0}, "algorithm.max_generation_rounds=0: need a number above 0"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        AlgorithmConfig(name="x", **settings)


def test_a_length_penalty_that_rewards_length_is_refused():
    with pytest.raises(UserError, match="algorithm.overlong.factor=-1.0: need a number above 0"):
        OverlongConfig(buffer_tokens=4, factor=-1.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"group_size": 0}, "sampling.group_size=0: need at least 1"),
        ({"temperature": -1.0}, "sampling.temperature=-1.0: need 0"),
        ({"top_p": 0.0}, "sampling.top_p=0.0: need 0 < top_p <= 1"),
        ({"top_k": -1}, "sampling.top_k=-1: need 0"),
        ({"max_new_tokens": 0}, "sampling.max_new_tokens=0: need a number above 0"),
    ],
)
def test_sampling_that_cannot_be_is_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        SamplingConfig(**({"group_size": 2, "max_new_tokens": 8} | settings))


def test_an_evaluation_of_nothing_is_refused():
    with pytest.raises(UserError, match="evaluation.greedy=false needs evaluation.samples above 0"):
        EvaluationConfig(greedy=False)
