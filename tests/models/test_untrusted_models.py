"""Folders that carry code where weights, tokenizers and chat templates are expected: nothing of it runs.

Each trap is first sprung by the library that it is made for, so that one that has stopped working fails its test.
"""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.models.load import encode_prompt, load_model
from gapo_cli.records import Message, Prompt


class Spring:
    """Unpickled, it leaves a mark."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def folder(tiny_model_folder, tmp_path) -> Path:
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "sprung"


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def config_of(folder: Path, **changes) -> ModelConfig:
    return ModelConfig("theirs", str(folder), 64, **changes)


def lay_pickle(file: Path, marker: Path) -> None:
    torch.save({"lm_head.weight": Spring(marker)}, file)
    torch.load(file, weights_only=False)
    marker.unlink()  # FileNotFoundError where it was not sprung


def test_a_pickle_in_place_of_safetensors_is_not_read(folder, marker):
    (folder / "model.safetensors").unlink()
    lay_pickle(folder / "pytorch_model.bin", marker)
    with pytest.raises(CheckpointError, match="model.safetensors: missing; gapo loads safetensors weights only"):
        load_model(config_of(folder))
    assert not marker.exists()


def test_a_pickle_under_the_name_of_safetensors_is_not_read(folder, marker):
    lay_pickle(folder / "pytorch_model.bin", marker)
    (folder / "pytorch_model.bin").replace(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="model.safetensors: damaged"):
        load_model(config_of(folder))
    (folder / "model.safetensors").write_bytes(pickle.dumps(Spring(marker)))
    with pytest.raises(CheckpointError, match="model.safetensors: damaged"):
        load_model(config_of(folder))
    assert not marker.exists()


def test_a_pickle_that_an_index_of_shards_names_is_not_read(folder, marker):
    lay_pickle(folder / "pytorch_model.bin", marker)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model.bin"}})
    )
    with pytest.raises(CheckpointError, match="pytorch_model.bin: damaged"):
        load_model(config_of(folder))
    assert not marker.exists()


def test_a_pickle_in_place_of_an_adapter_is_not_read(folder, marker, tmp_path):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    values = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(folder),
        "r": 2,
        "target_modules": ["q_proj"],
        "task_type": "CAUSAL_LM",
    }
    (adapter / "adapter_config.json").write_text(json.dumps(values))
    lay_pickle(adapter / "adapter_model.bin", marker)
    with pytest.raises(CheckpointError, match="adapter_model.safetensors: missing; gapo loads safetensors weights only"):
        load_model(config_of(adapter))
    assert not marker.exists()


CODE = """\
from pathlib import Path
Path({marker!r}).touch()
from transformers import Qwen2Config, Qwen2ForCausalLM

class TheirConfig(Qwen2Config):
    model_type = "theirs"

class TheirModel(Qwen2ForCausalLM):
    config_class = TheirConfig
"""


def lay_code(folder: Path, marker: Path, **changes) -> None:
    (folder / "their_code.py").write_text(CODE.format(marker=str(marker)))
    edit(
        folder / "config.json",
        auto_map={"AutoConfig": "their_code.TheirConfig", "AutoModelForCausalLM": "their_code.TheirModel"},
        **changes,
    )


def test_code_beside_a_models_weights_runs_only_where_it_is_trusted(folder, marker):
    lay_code(folder, marker, model_type="theirs")
    with pytest.raises(CheckpointError, match="does not load"):
        load_model(config_of(folder))
    assert not marker.exists()
    load_model(config_of(folder, trust_remote_code=True))
    assert marker.exists()


def test_code_that_would_replace_a_known_architecture_is_passed_over(folder, marker):
    lay_code(folder, marker)
    assert type(load_model(config_of(folder)).model).__module__.startswith("transformers.models.qwen2")
    assert not marker.exists()


def test_code_beside_a_tokenizer_is_not_run(folder, marker):
    (folder / "their_code.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "their_code.Theirs"]}, tokenizer_class="Theirs")
    load_model(config_of(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer that loads"):
        load_model(config_of(folder))
    assert not marker.exists()


@pytest.mark.parametrize(
    "escape",
    [
        "cycler.__init__.__globals__.os.system('touch {marker}')",
        "''.__class__.__mro__[1].__subclasses__()",
        "messages.append.__self__.__class__.__base__.__subclasses__()",
    ],
)
def test_a_chat_template_cannot_leave_its_sandbox(folder, marker, escape):
    chat = load_model(config_of(folder, chat=True))
    chat.tokenizer.chat_template = "{{ " + escape.format(marker=marker) + " }}"
    with pytest.raises(UserError, match="the chat template of .* refuses the prompt"):
        encode_prompt(chat, Prompt("t", "", (Message("user", "hello"),)))
    assert not marker.exists()
