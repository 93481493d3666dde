"""What is trained and what it is compared with: precision, gradient checkpointing, the reference."""

from dataclasses import replace

import pytest
import torch

from gapo_cli.config.model import LoraConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import UserError
from gapo_cli.models.gradient_checkpointing import checkpoint_layers
from gapo_cli.models.load import save_model
from gapo_cli.models.packing.layout import pack
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.policy import load_policy
from gapo_cli.models.reference import make_reference

BATCH = ([[5, 6, 7], [8, 9]], [[[10, 11], [12, 13, 14]], [[15], [16, 17]]], 0)
TRAINER = TrainerConfig(1, 1, 1, OptimizerConfig(1e-3))


def gradient(policy) -> tuple[torch.Tensor, torch.Tensor]:
    policy.model.zero_grad()
    with policy.autocast():
        logprobs = completion_logprobs(policy.model, pack(*BATCH)).logprobs
    (logprobs * torch.linspace(-1, 2, len(logprobs))).sum().backward()
    return logprobs.detach(), torch.cat([value.grad.flatten() for value in policy.model.parameters() if value.requires_grad])


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("training", [False, True])
def test_checkpointing_makes_layers_anew_in_the_backward_pass_and_changes_no_number(tiny_config, rank, training):
    if rank:
        pytest.importorskip("peft", reason="the extra lora is not installed")
    policies = []
    for checkpointing in (False, True):
        torch.manual_seed(0)  # for the adapters
        config = replace(tiny_config, lora=LoraConfig(rank=rank))
        policy = load_policy(config, replace(TRAINER, gradient_checkpointing=checkpointing))
        policy.model.train(training)
        policies.append(policy)
    passes = []
    policies[1].model.get_decoder().layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    for plain, checkpointed in zip(gradient(policies[0]), gradient(policies[1]), strict=True):
        assert torch.equal(plain, checkpointed)
    assert len(passes) == 2  # forward, and again for the backward pass


def test_checkpointed_layers_sample_with_their_cache(tiny_policy):
    sampling = SamplingConfig(group_size=2, max_new_tokens=8)
    plain = TorchEngine(tiny_policy, max_rows=8).generate([[5, 6, 7]], sampling, [0])
    checkpoint_layers(tiny_policy.model)
    assert TorchEngine(tiny_policy, max_rows=8).generate([[5, 6, 7]], sampling, [0]) == plain


def test_a_model_without_such_layers_is_refused(tiny_policy):
    tiny_policy.model.model.layers = torch.nn.ModuleList()
    with pytest.raises(UserError, match="gradient_checkpointing=true: Qwen2ForCausalLM has no layers that can do it"):
        checkpoint_layers(tiny_policy.model)


def test_weights_in_half_precision_are_not_trained_without_adapters(tiny_config):
    half = replace(tiny_config, dtype="bfloat16")
    with pytest.raises(UserError, match="model.dtype=bfloat16: all weights are trained here"):
        load_policy(half, replace(TRAINER, dtype="bfloat16"))


def test_frozen_weights_in_half_precision_are_trained_with_adapters(tiny_config):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    config = replace(tiny_config, dtype="bfloat16", lora=LoraConfig(rank=2))
    _, found = gradient(load_policy(config, replace(TRAINER, dtype="bfloat16")))
    assert torch.isfinite(found).all()
    assert found.abs().max() > 0


def test_a_reference_in_bfloat16_gives_bit_for_bit_the_log_probabilities_of_a_float32_one(tiny_config):
    policy = load_policy(tiny_config, replace(TRAINER, dtype="bfloat16"))
    found = []
    for dtype in ("float32", "bfloat16"):
        reference = make_reference(policy, tiny_config, dtype, at_start=True)
        with torch.no_grad(), policy.autocast():
            found.append(completion_logprobs(reference, pack(*BATCH)).logprobs)
    assert torch.equal(*found)
    assert reference.model.layers[0].self_attn.q_proj.weight.dtype == torch.bfloat16
    assert {value.dtype for value in policy.model.parameters()} == {torch.float32}


def test_the_reference_of_a_policy_that_has_moved_on_is_loaded_again(tiny_config, tiny_policy):
    with torch.no_grad():
        tiny_policy.model.lm_head.weight.zero_()
    moved = make_reference(tiny_policy, tiny_config, "float32", at_start=True)
    start = make_reference(tiny_policy, tiny_config, "float32", at_start=False)
    assert moved.lm_head.weight.abs().max() == 0 < start.lm_head.weight.abs().max()


def test_with_adapters_the_reference_has_no_weights_of_its_own_but_the_starting_adapters(tiny_config, tmp_path):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    policy = load_policy(replace(tiny_config, lora=LoraConfig(rank=2)), TRAINER)
    reference = make_reference(policy, policy.config, "float32", at_start=True)
    assert (reference.model, reference.start) == (policy.model, None)
    save_model(policy, tmp_path / "adapter")
    config = replace(tiny_config, path=str(tmp_path / "adapter"))
    continued = load_policy(config, TRAINER)
    assert make_reference(continued, config, "float32", at_start=True).start == tmp_path / "adapter"


def test_a_reference_in_half_precision_beside_a_policy_in_full_is_refused():
    with pytest.raises(UserError, match="trainer.reference_dtype=bfloat16: needs trainer.dtype=bfloat16"):
        replace(TRAINER, reference_dtype="bfloat16")
