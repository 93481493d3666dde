"""Adapters: what is trained, what the reference is, what a checkpoint holds, and each thing that can be wrong with one."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gapo_cli.config.model import LoraConfig, ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.models.load import load_model, save_model
from gapo_cli.models.lora import StartingModel
from gapo_cli.models.packing.layout import pack, pad
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.policy import load_policy

peft = pytest.importorskip("peft", reason="the extra lora is not installed")

TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])
TRAINER = TrainerConfig(1, 1, 1, OptimizerConfig(1e-3))
LORA = LoraConfig(rank=4, alpha=8, targets=("q_proj", "v_proj", "down_proj"))
BATCH = ([[5, 6, 7], [8, 9]], [[[10, 11], [12, 13, 14]], [[15], [16, 17]]], 0)


@pytest.fixture
def lora_config(tiny_config: ModelConfig) -> ModelConfig:
    return replace(tiny_config, lora=LORA)


@pytest.fixture
def adapted(lora_config):
    """A policy whose adapter has moved."""
    policy = load_policy(lora_config, TRAINER)
    move(policy, seed=1)
    return policy


def move(policy, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def logits(policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.model(TOKENS).logits


def test_a_new_adapter_changes_nothing_and_is_all_that_is_trained(tiny_policy, lora_config):
    assert torch.equal(logits(load_model(lora_config)), logits(tiny_policy))  # nothing is trained there: no adapter
    policy = load_policy(lora_config, TRAINER)
    assert torch.equal(logits(policy), logits(tiny_policy))
    trained = {name: parameter for name, parameter in policy.model.named_parameters() if parameter.requires_grad}
    # two layers, three targets, A and B of each
    assert len(trained) == 12
    assert all(".lora_" in name for name in trained)
    assert {parameter.dtype for parameter in trained.values()} == {torch.float32}
    settings = policy.model.peft_config["default"]
    assert (settings.r, settings.lora_alpha) == (4, 8)


def test_without_alpha_an_adapters_output_is_not_scaled(lora_config):
    policy = load_policy(replace(lora_config, lora=replace(LORA, alpha=None)), TRAINER)
    assert policy.model.get_base_model().model.layers[0].self_attn.q_proj.scaling == {"default": 1.0}


def test_the_reference_is_the_base_with_the_adapter_off(adapted, tiny_policy):
    reference = StartingModel(adapted, None)
    batch = pack(*BATCH)
    with torch.no_grad():
        found = completion_logprobs(reference, batch).logprobs
        wanted = completion_logprobs(tiny_policy.model, batch).logprobs
        moved = completion_logprobs(adapted.model, batch).logprobs
    assert torch.equal(found, wanted)
    assert not torch.allclose(found, moved, atol=0.01)


def test_training_that_starts_from_an_adapter_has_that_one_as_its_reference(adapted, lora_config, tmp_path):
    save_model(adapted, tmp_path / "first")
    started = logits(adapted)
    policy = load_model(replace(lora_config, path=str(tmp_path / "first"), lora=LoraConfig()))
    trained = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    reference = StartingModel(policy, tmp_path / "first")
    move(policy, seed=2)
    with torch.no_grad():
        hidden = reference.get_decoder()(input_ids=TOKENS, use_cache=False).last_hidden_state
    assert torch.equal(reference.get_output_embeddings()(hidden), started)
    assert not torch.allclose(logits(policy), started, atol=0.01)
    assert [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad] == trained
    assert not any(".start." in name for name in trained)
    save_model(policy, tmp_path / "second")
    assert not (tmp_path / "second" / "start").exists()


@pytest.mark.parametrize("from_an_adapter", [False, True])
def test_a_pass_of_the_reference_between_forward_and_backward_leaves_the_gradient_alone(adapted, tmp_path, from_an_adapter):
    save_model(adapted, tmp_path / "first")
    reference = StartingModel(adapted, tmp_path / "first" if from_an_adapter else None)
    move(adapted, seed=2)
    batch = pack(*BATCH)
    gradients = []
    for between in (False, True):
        logprobs = completion_logprobs(adapted.model, batch).logprobs
        if between:
            completion_logprobs(reference, batch)
        logprobs.sum().backward()
        gradients.append(
            {name: parameter.grad.clone() for name, parameter in adapted.model.named_parameters() if parameter.requires_grad}
        )
        adapted.model.zero_grad()
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(value, gradients[1][name]) for name, value in gradients[0].items())
    assert any(value.abs().max() > 0 for value in gradients[0].values())


def test_packed_and_padded_layouts_give_an_adapter_the_same_gradient(adapted):
    gradients = []
    for layout in (pack, pad):
        completion_logprobs(adapted.model, layout(*BATCH)).logprobs.sum().backward()
        gradients.append([parameter.grad.clone() for parameter in adapted.model.parameters() if parameter.requires_grad])
        adapted.model.zero_grad()
    for packed, padded in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)


def test_the_torch_engine_samples_from_the_adapted_model(adapted, tiny_policy):
    sampling = SamplingConfig(group_size=2, max_new_tokens=6)
    ((first, second),) = TorchEngine(adapted, max_rows=8).generate([[5, 6, 7]], sampling, [0])
    batch = pack([[5, 6, 7]], [[first.token_ids, second.token_ids]], 0)
    with torch.no_grad():
        ours = completion_logprobs(adapted.model, batch).logprobs
        base = completion_logprobs(tiny_policy.model, batch).logprobs
    engines = torch.tensor(first.logprobs + second.logprobs)
    torch.testing.assert_close(engines, ours, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(engines, base, atol=0.01)


def test_a_saved_adapter_loads_again_here_and_with_peft(adapted, lora_config, tmp_path):
    from transformers import AutoModelForCausalLM

    save_model(adapted, tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert not {"model.safetensors", "config.json", "README.md"} & names
    again = load_model(replace(lora_config, path=str(tmp_path / "saved"), lora=LoraConfig()))
    assert torch.equal(logits(again), logits(adapted))
    assert sum(parameter.requires_grad for parameter in again.model.parameters()) == 12
    base = AutoModelForCausalLM.from_pretrained(lora_config.path)
    with torch.no_grad():
        assert torch.equal(peft.PeftModel.from_pretrained(base, tmp_path / "saved").eval()(TOKENS).logits, logits(adapted))


def test_a_new_adapter_a_saved_one_and_the_reference_are_multiplied_by_the_same_kernels(adapted, lora_config, tmp_path):
    # another kernel rounds otherwise, and a resumed run would not be bit for bit the one that never stopped
    save_model(adapted, tmp_path / "saved")
    again = load_model(replace(lora_config, path=str(tmp_path / "saved"), lora=LoraConfig()))

    def kernels(policy, adapter):
        return {name: type(module) for name, module in policy.model.named_modules() if name.endswith(f".{adapter}")}

    assert kernels(adapted, "default") == kernels(again, "default")
    StartingModel(again, tmp_path / "saved")
    assert set(kernels(again, "start").values()) == set(kernels(again, "default").values())


def test_an_adapter_of_a_folder_names_its_base_in_full_and_one_of_the_hub_by_its_name(lora_config, tmp_path, monkeypatch):
    from gapo_cli.models import load
    from gapo_cli.models import policy as policies

    monkeypatch.chdir(Path(lora_config.path).parent)
    policy = load_policy(replace(lora_config, path=Path(lora_config.path).name), TRAINER)
    assert policy.model.peft_config["default"].base_model_name_or_path == lora_config.path
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "0123").symlink_to(lora_config.path)
    for module in (load, policies):
        monkeypatch.setattr(module, "find_folder", lambda config: tmp_path / "snapshots" / "0123")
    policy = load_policy(replace(lora_config, path="made/up"), TRAINER)
    assert policy.model.peft_config["default"].base_model_name_or_path == "made/up"


def test_a_base_in_bfloat16_computes_bit_for_bit_what_a_float32_one_does_in_autocast(lora_config):
    half = replace(TRAINER, dtype="bfloat16")
    policies = [load_policy(replace(lora_config, dtype=dtype), half) for dtype in ("float32", "bfloat16")]
    batch, found = pack(*BATCH), []
    for policy in policies:
        move(policy, seed=3)
        with policy.autocast():
            found.append(completion_logprobs(policy.model, batch).logprobs)
    assert torch.equal(*found)
    held = {
        name: parameter.dtype for name, parameter in policies[1].model.get_base_model().named_parameters() if "lora" not in name
    }
    assert {dtype for name, dtype in held.items() if "proj" in name or "lm_head" in name} == {torch.bfloat16}
    assert {dtype for name, dtype in held.items() if "norm" in name or "embed" in name} == {torch.float32}


def test_a_head_that_is_tied_to_the_embedding_stays_as_precise_as_it(tiny_policy, tiny_config, tmp_path):
    from transformers import Qwen2ForCausalLM

    settings = tiny_policy.model.config
    settings.tie_word_embeddings = True
    save_model(replace(tiny_policy, model=Qwen2ForCausalLM(settings)), tmp_path / "tied")
    model = load_model(replace(tiny_config, path=str(tmp_path / "tied"), dtype="bfloat16"), dtype="bfloat16").model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.lm_head.weight.dtype == torch.float32
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16


def test_weights_in_half_precision_are_not_computed_with_in_full(tiny_config):
    with pytest.raises(UserError, match="model.dtype=bfloat16: needs trainer.dtype=bfloat16"):
        load_model(replace(tiny_config, dtype="bfloat16"))


# What is wrong with settings


def test_a_target_that_no_matrix_has_is_named_with_the_nearest(lora_config):
    with pytest.raises(UserError, match=r"model.lora.targets: the model's layers have no q_porj; did you mean q_proj\?"):
        load_policy(replace(lora_config, lora=replace(LORA, targets=("q_porj", "v_proj"))), TRAINER)


def test_the_head_gets_no_adapter(lora_config):
    with pytest.raises(UserError, match="the model's layers have no lm_head"):
        load_policy(replace(lora_config, lora=replace(LORA, targets=("lm_head",))), TRAINER)


def test_a_missing_peft_is_answered_with_the_command(lora_config, monkeypatch):
    from gapo_cli.models import lora

    monkeypatch.setattr(lora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"model.lora.rank=4 needs: pip install 'gapo-cli\[lora\]'"):
        load_policy(lora_config, TRAINER)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rank": -1}, "model.lora.rank=-1: need 0"),
        ({"alpha": 0.0}, "model.lora.alpha=0.0: need a number above 0"),
        ({"dropout": 1.0}, "model.lora.dropout=1.0: need 0 to below 1"),
        ({"targets": ()}, r"model.lora.targets=\[\]: need at least one"),
    ],
)
def test_settings_check_themselves(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        LoraConfig(**settings)


# What is wrong with a folder


@pytest.fixture
def saved(adapted, tmp_path) -> Path:
    save_model(adapted, tmp_path / "saved")
    return tmp_path / "saved"


def load_saved(saved, **changes):
    return load_model(ModelConfig("tiny", str(saved), 64, **changes))


def edit(saved, **changes) -> None:
    file = saved / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_another_rank_than_the_adapters_is_refused(saved):
    config = ModelConfig("tiny", str(saved), 64, lora=LORA)
    assert load_policy(config, TRAINER).model.peft_config["default"].r == 4
    with pytest.raises(
        UserError, match="model.lora.rank=8: the adapter at .* has rank 4; give that, or merge it first by `gapo export`"
    ):
        load_policy(replace(config, lora=LoraConfig(rank=8)), TRAINER)


def test_a_base_that_has_moved_is_named_with_the_file_that_says_so(saved):
    edit(saved, base_model_name_or_path="/no/such/base")
    with pytest.raises(CheckpointError, match=r"/no/such/base: no such folder.*correct base_model_name_or_path there"):
        load_saved(saved)


def test_a_base_that_is_an_adapter_itself_is_refused(saved):
    edit(saved, base_model_name_or_path=str(saved))
    with pytest.raises(CheckpointError, match="is an adapter itself; merge that by `gapo export` first"):
        load_saved(saved)


@pytest.mark.parametrize("content", ["", "{}", '{"base_model_name_or_path": ""}', "[]"])
def test_a_damaged_adapter_config_is_said_so(saved, content):
    (saved / "adapter_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: (damaged|names no base)"):
        load_saved(saved)


def test_missing_or_torn_weights_of_an_adapter_are_named(saved):
    weights = saved / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors: damaged or cut short"):
        load_saved(saved)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors: missing"):
        load_saved(saved)


def test_an_adapter_that_lacks_a_tensor_is_refused_and_not_made_up(saved):
    from safetensors.torch import load_file, save_file

    tensors = load_file(saved / "adapter_model.safetensors")
    del tensors["base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"]
    save_file(tensors, saved / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks base_model\.model\.model\.layers\.1\.mlp\.down_proj\.lora_A\.weight"):
        load_saved(saved)


def test_an_adapter_for_a_base_of_another_shape_is_refused(saved, tiny_policy, tmp_path):
    from transformers import Qwen2ForCausalLM

    settings = tiny_policy.model.config
    settings.intermediate_size = 48
    save_model(replace(tiny_policy, model=Qwen2ForCausalLM(settings)), tmp_path / "other")
    edit(saved, base_model_name_or_path=str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match="the adapter does not fit its base"):
        load_saved(saved)


@pytest.mark.parametrize("changes", [{"bias": "all"}, {"modules_to_save": ["lm_head"]}, {"use_dora": True}])
def test_adapters_of_other_kinds_are_refused(saved, changes):
    edit(saved, **changes)
    with pytest.raises(CheckpointError, match=f"adapters that are plain LORA.*{next(iter(changes))}"):
        load_saved(saved)


def test_warnings_of_libraries_that_peft_loads_stay_off_the_screen(adapted):
    assert not logging.getLogger("bitsandbytes.backends.cpu.ops").isEnabledFor(logging.WARNING)
