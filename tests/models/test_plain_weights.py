"""The weights as a plain checkpoint has them: the names and tensors that save_pretrained writes, adapters merged."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from gapo_cli.models.plain_weights import plain_weights

SHAPE = {
    "vocab_size": 258, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 48, "max_position_embeddings": 256,
}  # fmt: skip
TOKENS = torch.tensor([[5, 6, 7, 8]])


def made(kind: str, tied: bool):
    torch.manual_seed(0)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied, mlp_bias=True)).eval()
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=tied)).eval()
    return MixtralForCausalLM(MixtralConfig(**SHAPE, num_local_experts=2, tie_word_embeddings=tied)).eval()


@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("llama", False), ("qwen3", True), ("mixtral", False)])
def test_the_names_and_tensors_are_those_of_a_saved_model(kind, tied, tiny_policy, tmp_path):
    made(kind, tied).save_pretrained(tmp_path)
    model = type(made(kind, tied)).from_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    found = dict(plain_weights(replace(tiny_policy, model=model)))
    assert found.keys() == saved.keys()
    assert ("lm_head.weight" in found) is not tied
    assert all(torch.equal(found[name], tensor) for name, tensor in saved.items())


def test_weights_that_no_adapter_touches_are_not_copied(tiny_policy):
    found = dict(plain_weights(tiny_policy))
    assert found["model.norm.weight"].data_ptr() == tiny_policy.model.model.norm.weight.data_ptr()
    assert not found["model.norm.weight"].requires_grad


@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("llama", False), ("qwen3", False)])
def test_an_adapter_is_merged_and_the_policy_stays_as_it_is(kind, tied, tiny_policy):
    peft = pytest.importorskip("peft", reason="the extra lora is not installed")
    base = made(kind, tied)
    names = list(dict(plain_weights(replace(tiny_policy, model=base))))
    with torch.no_grad():
        of_base = base(TOKENS).logits
    adapted = peft.get_peft_model(
        base, peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    ).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # zero at first: an adapter that changes nothing
                parameter.normal_(std=0.3)
        wanted = adapted(TOKENS).logits
        before = {name: value.clone() for name, value in adapted.state_dict().items()}
        found = dict(plain_weights(replace(tiny_policy, model=adapted)))
        assert list(found) == names
        plain = made(kind, tied)
        plain.load_state_dict(found, strict=not tied)
        assert not torch.allclose(wanted, of_base, atol=0.01)
        torch.testing.assert_close(plain(TOKENS).logits, wanted, rtol=1e-5, atol=1e-5)
        assert all(torch.equal(value, before[name]) for name, value in adapted.state_dict().items())


def test_a_base_in_bfloat16_gets_its_adapter_added_in_float32_and_rounded_once(tiny_policy):
    peft = pytest.importorskip("peft", reason="the extra lora is not installed")
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(made("llama", False).to(torch.bfloat16), config)
    layer = adapted.get_base_model().model.layers[0].self_attn.q_proj
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
    merged = dict(plain_weights(replace(tiny_policy, model=adapted)))["model.layers.0.self_attn.q_proj.weight"]
    wanted = layer.base_layer.weight.float() + layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, wanted.to(torch.bfloat16))
