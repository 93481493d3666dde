"""Models found, checked, loaded and saved; each thing that can be wrong with a folder has its sentence."""

import json
import re
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.models import folders
from gapo_cli.models.load import encode_prompt, encode_prompts, load_model, save_model
from gapo_cli.records import Message, Prompt


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def config_of(path: object, **changes) -> ModelConfig:
    return ModelConfig(**{"name": "tiny", "path": str(path), "context_length": 64} | changes)


def edit_json(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def same_weights(one, other) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_folder_loads_in_eval_mode_with_its_end_and_padding_tokens(tiny_policy):
    assert not tiny_policy.model.training
    assert (tiny_policy.eos_token_id, tiny_policy.eos_token_ids, tiny_policy.pad_token_id) == (1, (1,), 0)
    assert {parameter.dtype for parameter in tiny_policy.model.parameters()} == {torch.float32}


def test_end_tokens_are_the_tokenizers_then_those_of_the_config(folder):
    edit_json(folder / "config.json", eos_token_id=[7, 1, 9])
    policy = load_model(config_of(folder))
    assert policy.eos_token_id == 1
    assert policy.eos_token_ids == (1, 7, 9)


def test_rows_are_filled_with_the_end_token_where_there_is_no_padding_token(folder):
    edit_json(folder / "tokenizer_config.json", pad_token=None)
    assert load_model(config_of(folder)).pad_token_id == 1


def test_a_saved_model_loads_again_with_the_same_weights_and_tokens(tiny_policy, tmp_path):
    with torch.no_grad():
        tiny_policy.model.lm_head.weight.add_(1.0)
    save_model(tiny_policy, tmp_path / "saved")
    again = load_model(config_of(tmp_path / "saved"))
    assert same_weights(again.model, tiny_policy.model)
    text = Prompt("t", "def f(x):\n    return é <eos>")
    assert encode_prompt(again, text) == encode_prompt(tiny_policy, text)


def test_weights_lie_as_those_that_were_made_here_wherever_they_begin_in_their_file(folder):
    # a matrix product has other last bits where its operands begin elsewhere: a resumed run would not repeat the whole one
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = {name: value.clone() for name, value in load_file(file).items()}
    for filling in ("", "eight more"):  # at least one of the two headers does not end at a multiple of 64
        save_file(tensors, file, metadata={"format": "pt", "filling": filling})
        assert {parameter.data_ptr() % 64 for parameter in load_model(config_of(folder)).model.parameters()} == {0}


def test_saving_takes_the_place_of_the_folder_that_was_there_and_leaves_nothing_else(tiny_policy, tmp_path):
    save_model(tiny_policy, tmp_path / "saved")
    (tmp_path / "saved" / "stale.bin").touch()
    with torch.no_grad():
        tiny_policy.model.lm_head.weight.zero_()
    save_model(tiny_policy, tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    assert not (tmp_path / "saved" / "stale.bin").exists()
    assert load_model(config_of(tmp_path / "saved")).model.lm_head.weight.abs().max() == 0


def test_a_full_disk_leaves_the_saved_model_whole(tiny_policy, tmp_path):
    save_model(tiny_policy, tmp_path / "saved")
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32_000, limits[1]))  # the weights have 143,640 bytes
    try:
        with pytest.raises(CheckpointError, match="could not be written .*make room"):
            save_model(tiny_policy, tmp_path / "saved")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()} == before


def test_the_previous_folder_comes_back_when_the_new_one_cannot_take_its_place(tiny_policy, tmp_path, monkeypatch):
    save_model(tiny_policy, tmp_path / "saved")
    rename = Path.rename

    def fail_for_the_new_one(self: Path, target: Path) -> Path:
        if self.name == "saved" and self.parent.name.startswith(".saved."):
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(CheckpointError):
        save_model(tiny_policy, tmp_path / "saved")
    assert same_weights(load_model(config_of(tmp_path / "saved")).model, tiny_policy.model)


def test_sampling_settings_of_a_models_makers_are_neither_used_nor_saved(folder, tmp_path):
    settings = {"do_sample": True, "temperature": 0.3, "top_p": 0.5, "top_k": 3, "repetition_penalty": 1.5, "eos_token_id": [5]}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    policy = load_model(config_of(folder))
    save_model(policy, tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    saved.pop("transformers_version")
    # where answers end is no sampling setting
    assert saved == {"eos_token_id": [1, 5], "pad_token_id": 0}
    assert policy.eos_token_ids == (1, 5)


def test_a_tokenizer_of_ones_own_is_used_as_it_is(tiny_policy):
    """AutoTokenizer gives a Qwen2 folder Qwen's own normaliser, which would turn e + combining accent into é."""
    text = "e\u0301"
    ids = encode_prompt(tiny_policy, Prompt("t", text))
    assert len(ids) == 3  # the bytes 65 CC 81; é would be C3 A9
    assert tiny_policy.tokenizer.decode(ids) == text


def test_weights_that_ship_with_the_package_go_by_asset_names(folder, monkeypatch):
    monkeypatch.setattr(folders, "ASSETS", folder.parent)
    assert load_model(config_of("asset:model")).model.config.hidden_size == 32
    with pytest.raises(CheckpointError, match=r"asset:modle: the package has no such weights \(it has: asset:model\)"):
        load_model(config_of("asset:modle"))


# What is wrong with a path


@pytest.mark.parametrize("path", ["/no/such/folder", "./no-such-folder", "no/such/folder", "~/no-such-folder-here"])
def test_a_path_that_does_not_exist_is_named_with_what_is_allowed(path):
    with pytest.raises(
        CheckpointError, match=rf"model.path={re.escape(path)}: no such folder; need a folder .* hub name .* asset:NAME"
    ):
        load_model(config_of(path))


def test_a_file_is_no_model(folder):
    with pytest.raises(CheckpointError, match="this is a file; need a folder"):
        load_model(config_of(folder / "config.json"))


def test_a_hub_that_cannot_be_reached_is_said_so(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="no-one/nothing: no such folder, and the Hugging Face hub cannot be reached"):
        load_model(config_of("no-one/nothing"))


def test_a_hub_name_that_is_malformed_is_no_model():
    with pytest.raises(CheckpointError, match="neither a folder nor a model on the hub"):
        load_model(config_of("no--one..here/nothing"))


# What is wrong with a folder


def test_a_folder_without_config_is_no_model(tmp_path):
    with pytest.raises(CheckpointError, match="has no config.json"):
        load_model(config_of(tmp_path))


def test_a_config_that_is_damaged_is_said_so(folder):
    (folder / "config.json").write_text('{"model_type": "qwen2"')
    with pytest.raises(CheckpointError, match="does not load"):
        load_model(config_of(folder))


def test_missing_weights_are_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: missing; gapo loads safetensors weights only"):
        load_model(config_of(folder))


@pytest.mark.parametrize("kept", [0, 4, 1000, 143_639])
def test_truncated_weights_are_named(folder, kept):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged or cut short"):
        load_model(config_of(folder))


def test_a_missing_shard_is_named(tiny_policy, folder):
    (folder / "model.safetensors").unlink()
    tiny_policy.model.save_pretrained(folder, max_shard_size="50KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert same_weights(load_model(config_of(folder)).model, tiny_policy.model)
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=re.escape(f"{shards[1].name}: missing")):
        load_model(config_of(folder))


@pytest.mark.parametrize("content", ["", "{}", '{"weight_map": 3}', "not json"])
def test_a_damaged_index_of_shards_is_named(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json: damaged"):
        load_model(config_of(folder))


def test_weights_that_lack_a_tensor_are_refused_and_not_made_up(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack model\.norm\.weight"):
        load_model(config_of(folder))


def test_weights_of_another_shape_are_refused(folder):
    edit_json(folder / "config.json", intermediate_size=48)
    with pytest.raises(CheckpointError, match="does not load"):
        load_model(config_of(folder))


def test_a_folder_without_tokenizer_is_refused(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer that loads; copy tokenizer.json"):
        load_model(config_of(folder))


def test_a_damaged_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(CheckpointError, match="has no tokenizer that loads"):
        load_model(config_of(folder))


def test_a_tokenizer_larger_than_the_model_is_refused(folder):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    settings = json.loads((folder / "config.json").read_text()) | {"vocab_size": 100}
    Qwen2ForCausalLM(Qwen2Config(**settings)).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="the tokenizer has 258 tokens, the model 100"):
        load_model(config_of(folder))


def test_a_model_without_end_token_is_refused(folder):
    edit_json(folder / "config.json", eos_token_id=None)
    edit_json(folder / "generation_config.json", eos_token_id=None)
    edit_json(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(CheckpointError, match="names an end token"):
        load_model(config_of(folder))


# What does not go together


def test_a_context_longer_than_the_models_positions_is_refused(folder):
    with pytest.raises(UserError, match="model.context_length=257: .* has 256 positions"):
        load_model(config_of(folder, context_length=257))


def test_a_context_longer_than_the_attention_window_is_refused(folder):
    edit_json(folder / "config.json", use_sliding_window=True, sliding_window=32, max_window_layers=0, layer_types=None)
    with pytest.raises(UserError, match="model.context_length=64: .* looks back 32 tokens"):
        load_model(config_of(folder))
    assert load_model(config_of(folder, context_length=32)).model.config.sliding_window == 32


def test_a_model_that_scales_its_logits_is_refused(folder):
    from transformers import GraniteConfig, GraniteForCausalLM

    GraniteForCausalLM(
        GraniteConfig(vocab_size=258, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                      logits_scaling=4.0, eos_token_id=1, pad_token_id=0)
    ).save_pretrained(folder)  # fmt: skip
    with pytest.raises(UserError, match="scales or caps its logits"):
        load_model(config_of(folder))


@pytest.mark.parametrize(("device", "sentence"), [("gpu", "need cpu or cuda"), ("cuda:99", "finds no CUDA device")])
def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(device, sentence, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"trainer.device={device}: .*{sentence}"):
        load_model(config_of("/no/such/folder"), device=device)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(UserError, match="trainer.dtype=float16: need one of float32, bfloat16"):
        load_model(config_of("/no/such/folder"), dtype="float16")


def test_bfloat16_computes_in_half_precision_over_float32_weights(tiny_config):
    policy = load_model(tiny_config, dtype="bfloat16")
    assert {parameter.dtype for parameter in policy.model.parameters()} == {torch.float32}
    with policy.autocast():
        assert policy.model(torch.tensor([[5, 6]])).logits.dtype == torch.bfloat16
    with load_model(tiny_config).autocast():
        assert policy.model(torch.tensor([[5, 6]])).logits.dtype == torch.float32


# Prompts


def test_a_raw_prompt_is_its_text_and_nothing_more(tiny_policy):
    assert encode_prompt(tiny_policy, Prompt("t", "")) == ()
    ids = encode_prompt(tiny_policy, Prompt("t", "a<eos>b"))
    assert [tiny_policy.tokenizer.convert_ids_to_tokens(token) for token in ids] == ["a", "<eos>", "b"]


def test_a_chat_prompt_goes_through_the_template_and_its_text_begins_the_answer(tiny_policy):
    chat = replace(tiny_policy, config=replace(tiny_policy.config, chat=True))
    chat.tokenizer.chat_template = (
        "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    ids = encode_prompt(chat, Prompt("t", "```", (Message("system", "be brief"), Message("user", "fix it"))))
    assert chat.tokenizer.decode(ids) == "[system]be brief[user]fix it[assistant]```"


def test_a_chat_template_that_refuses_a_prompt_is_quoted(tiny_policy):
    tiny_policy.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    chat = replace(tiny_policy, config=replace(tiny_policy.config, chat=True))
    with pytest.raises(UserError, match=r"refuses the prompt \(roles must alternate\)"):
        encode_prompt(chat, Prompt("t", "", (Message("user", "fix it"),)))


def test_thinking_is_told_to_the_chat_template_where_it_is_set(tiny_policy):
    tiny_policy.tokenizer.chat_template = "{{ enable_thinking if enable_thinking is defined else 'unsaid' }}"
    prompt, said = Prompt("t", "", (Message("user", "fix it"),)), []
    for thinking in (None, True, False):
        config = replace(tiny_policy.config, chat=True, thinking=thinking)
        said.append(tiny_policy.tokenizer.decode(encode_prompt(replace(tiny_policy, config=config), prompt)))
    assert said == ["unsaid", "True", "False"]


def test_a_raw_prompt_for_a_chat_model_and_a_chat_prompt_for_a_raw_model_are_refused(tiny_policy):
    with pytest.raises(UserError, match="model.chat=false: this prompt template makes chat prompts; set model.chat=true"):
        encode_prompt(tiny_policy, Prompt("t", "", (Message("user", "fix it"),)))
    chat = replace(tiny_policy, config=replace(tiny_policy.config, chat=True))
    with pytest.raises(UserError, match="model.chat=true: this prompt template makes raw prompts; set model.chat=false"):
        encode_prompt(chat, Prompt("t", "fix it"))


def test_a_chat_model_without_chat_template_is_refused(tiny_policy):
    chat = replace(tiny_policy, config=replace(tiny_policy.config, chat=True))
    with pytest.raises(UserError, match="has no chat template"):
        encode_prompt(chat, Prompt("t", "", (Message("user", "fix it"),)))


TEXTS = ["", "a", "é<eos>x", " if a:\n    b\n" * 9, "<|old|>x = y<|new|>x = z<|code|>", "\t\x00\u2028\U0001f600"]


@pytest.mark.parametrize("path", ["tiny", "asset:nano-noisy"])
def test_prompts_in_one_call_have_the_tokens_that_each_has_alone(path, tiny_model_folder):
    policy = load_model(config_of(tiny_model_folder if path == "tiny" else path))
    alone = [tuple(policy.tokenizer.encode(text, add_special_tokens=False)) for text in TEXTS]
    assert encode_prompts(policy, [Prompt("t", text) for text in TEXTS]) == alone
    assert [encode_prompt(policy, Prompt("t", text)) for text in TEXTS] == alone
    assert encode_prompts(policy, []) == []


def test_a_prompt_longer_than_the_tokenizer_expects_is_whole_and_says_nothing(tiny_policy, caplog, capfd):
    tiny_policy.tokenizer.model_max_length = 4
    assert len(encode_prompts(tiny_policy, [Prompt("t", "a" * 9), Prompt("u", "b")])[0]) == 9
    assert (capfd.readouterr().err, caplog.text) == ("", "")
