"""The figures of an architecture, read from a config.json."""

import json

import pytest

from gapo_cli.config.model import ModelConfig, ShapeConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.planning.cost import parameters
from gapo_cli.planning.model_shape import find_shape, shape_of

FIGURES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 100,
}  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("more", [{}, {"tie_word_embeddings": True, "head_dim": 24}])
def test_parameters_are_those_of_the_model_that_transformers_makes(family, more):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {"model_type": family, "tie_word_embeddings": False, "head_dim": 16} | FIGURES | more
    if family == "qwen2":
        values.pop("head_dim")  # it has none of its own
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values))
    assert parameters(shape_of(values, "here")) == sum(parameter.numel() for parameter in model.parameters())


def test_the_model_on_disk_is_as_large_as_its_config_says(tiny_config, tiny_policy):
    assert parameters(find_shape(tiny_config)) == sum(parameter.numel() for parameter in tiny_policy.model.parameters())


def test_other_architectures_are_refused_by_name():
    with pytest.raises(UserError, match="here: model_type mixtral: gapo plan knows the layers of llama, mistral, qwen2, qwen3"):
        shape_of({"model_type": "mixtral"} | FIGURES, "here")


@pytest.mark.parametrize(
    "text",
    ["[]", '{"model_type": "llama"}', '{"model_type": "llama", "hidden_size": "w", "num_attention_heads": "h"}', "{", "\udc80"],
)
def test_a_damaged_config_is_named(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=str(tmp_path / "config.json")):
        find_shape(ModelConfig("x", str(tmp_path), 100))


def test_a_folder_without_config_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="config.json cannot be read"):
        find_shape(ModelConfig("x", str(tmp_path), 100))


def test_a_model_that_is_elsewhere_has_the_shape_of_our_config(monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("nothing is to be fetched")

    monkeypatch.setattr("gapo_cli.models.folders._download", no_network)
    shape = ShapeConfig(layers=2, hidden_size=4, heads=2, key_value_heads=1, head_size=2, feed_forward_size=8, vocabulary=10)
    assert find_shape(ModelConfig("x", "some/model", 100, shape=shape)) == shape


def test_an_adapter_has_the_shape_of_its_base(tmp_path, tiny_config):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": tiny_config.path}))
    assert find_shape(ModelConfig("x", str(tmp_path), 100)) == find_shape(tiny_config)
