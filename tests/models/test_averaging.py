"""The mean of models is a model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from gapo_cli.errors import CheckpointError
from gapo_cli.models.averaging import average_models


@pytest.fixture
def shifted(tiny_model_folder, tmp_path):
    """The tiny model with 2 added to every weight, and a trainer's state beside it as in a checkpoint."""
    folder = tmp_path / "shifted"
    shutil.copytree(tiny_model_folder, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + 2 for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_the_mean_of_two_models_is_a_model_half_way_between_them(tiny_model_folder, shifted, tmp_path):
    target = average_models([shifted, tiny_model_folder], tmp_path / "mean")
    own, found = load_file(tiny_model_folder / "model.safetensors"), load_file(target / "model.safetensors")
    assert all(torch.allclose(found[name], own[name] + 1, atol=1e-6) for name in own)
    AutoModelForCausalLM.from_pretrained(target)
    assert (target / "tokenizer.json").is_file()
    assert not (target / "trainer_state.json").exists()


def test_the_mean_of_a_model_with_itself_is_that_model_bit_for_bit(tiny_model_folder, tmp_path):
    target = average_models([tiny_model_folder] * 3, tmp_path / "mean")
    own, found = load_file(tiny_model_folder / "model.safetensors"), load_file(target / "model.safetensors")
    assert all(torch.equal(found[name], own[name]) for name in own)


def test_models_of_other_shapes_and_adapters_are_refused(tiny_model_folder, shifted, tmp_path):
    weights = load_file(shifted / "model.safetensors")
    save_file({name: tensor[..., :1].contiguous() for name, tensor in weights.items()}, shifted / "model.safetensors")
    with pytest.raises(CheckpointError, match="have other weights"):
        average_models([tiny_model_folder, shifted], tmp_path / "mean")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "x"}))
    with pytest.raises(CheckpointError, match=r"adapters cannot be averaged; train with model\.lora\.rank=0"):
        average_models([tiny_model_folder, adapter], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
