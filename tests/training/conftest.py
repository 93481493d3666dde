"""Fixtures of the training tests."""

from __future__ import annotations

import pytest
from training_parts import PlainTemplate

from gapo_cli.config import AlgorithmConfig, OptimizerConfig, SamplingConfig, TrainerConfig


@pytest.fixture
def template() -> PlainTemplate:
    return PlainTemplate()


@pytest.fixture
def sampling() -> SamplingConfig:
    return SamplingConfig(group_size=4, max_new_tokens=12)


@pytest.fixture
def algorithm() -> AlgorithmConfig:
    return AlgorithmConfig(name="grpo")


@pytest.fixture
def trainer() -> TrainerConfig:
    return TrainerConfig(
        steps=4,
        prompts_per_step=4,
        prompts_per_mini_batch=2,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=2),
        checkpoint_every=2,
    )
