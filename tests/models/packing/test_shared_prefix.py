"""Which layout a policy really gets, and what it is told."""

from dataclasses import replace

import pytest

from gapo_cli.config.model import LoraConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.models.policy import load_policy
from gapo_cli.models.usable_layout import usable_layout


def test_a_model_on_a_cpu_is_packed(tiny_policy):
    assert usable_layout("packed", tiny_policy) == ("packed", None)


def test_frozen_weights_in_half_precision_are_packed(tiny_config):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    trainer = TrainerConfig(1, 1, 1, OptimizerConfig(1e-3), dtype="bfloat16")
    policy = load_policy(replace(tiny_config, dtype="bfloat16", lora=LoraConfig(rank=2)), trainer)
    assert usable_layout("packed", policy) == ("packed", None)


def test_what_was_asked_for_otherwise_is_left_alone(tiny_policy):
    tiny_policy.model.set_attn_implementation("eager")
    assert usable_layout("padded", tiny_policy) == ("padded", None)


def test_a_model_whose_attention_does_not_know_shared_prefixes_gets_the_mask(tiny_policy):
    tiny_policy.model.set_attn_implementation("eager")
    assert usable_layout("packed", tiny_policy) == (
        "masked",
        "trainer.layout=packed: the attention of Qwen2ForCausalLM cannot be replaced; using masked, the same numbers with more arithmetic",
    )


def test_a_device_where_flex_attention_fails_gets_the_mask(tiny_policy):
    layout, notice = usable_layout("packed", replace(tiny_policy, device="xpu"))  # which is not here
    assert layout == "masked"
    assert "flex_attention does not run on trainer.device=xpu (" in notice
