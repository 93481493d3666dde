"""Tokens that are not text: where prompts begin, where answers end, ids that no token has."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.token_answers import PHANTOM, malformed
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import CheckpointError
from gapo_cli.models.load import encode_prompt, load_model, save_model
from gapo_cli.models.packing.layout import LAY_OUT
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.special_tokens import begin_tokens, in_words, turn_end
from gapo_cli.records import Message, Prompt

VOCABULARY = 258  # of the tiny model: <pad>, <eos>, 256 bytes
TURNS = "{% for m in messages %}<t>{{ m.content }}<pad>{% endfor %}"


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def config_of(folder, **settings):
    return ModelConfig(name="tiny", path=str(folder), context_length=256, **settings)


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def pad_vocabulary(folder, rows):
    """`rows` more rows of embeddings and head, copies of the first ones, so that they would be drawn."""
    weights = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = torch.cat([weights[name], weights[name][:rows]]).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder / "config.json", vocab_size=VOCABULARY + rows)


def begin_with_pad(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(single="<pad> $A", special_tokens=[("<pad>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))


def answers_of(policy, **settings):
    sampling = SamplingConfig(group_size=64, max_new_tokens=8, **settings)
    return TorchEngine(policy, max_rows=64).generate([[10, 11, 12]], sampling, [0])[0]


def test_ids_without_a_token_are_never_drawn(folder):
    pad_vocabulary(folder, 200)
    policy = load_model(config_of(folder))
    assert policy.phantom_ids == tuple(range(VOCABULARY, VOCABULARY + 200))
    for settings in ({"temperature": 1.0}, {"temperature": 2.0, "top_k": 400}, {"temperature": 0.0}):
        assert max(token for one in answers_of(policy, **settings) for token in one.token_ids) < VOCABULARY


def test_a_padded_vocabulary_changes_neither_answers_nor_log_probabilities(folder, tiny_policy):
    pad_vocabulary(folder, 200)
    padded = load_model(config_of(folder))
    ours, theirs = answers_of(padded), answers_of(tiny_policy)
    assert [one.token_ids for one in ours] == [one.token_ids for one in theirs]
    batch = LAY_OUT["padded"](((10, 11, 12),), ((ours[0].token_ids,),), 0)
    found = [completion_logprobs(policy.model, batch, entropy="value") for policy in (padded, tiny_policy)]
    torch.testing.assert_close(found[0].logprobs, found[1].logprobs)
    torch.testing.assert_close(found[0].entropy, found[1].entropy)


def test_an_id_between_two_tokens_that_no_token_has_is_never_drawn_and_leaves_entropies_finite(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    gone = next(token for token, number in tokenizer["model"]["vocab"].items() if number == 100)
    del tokenizer["model"]["vocab"][gone]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    policy = load_model(config_of(folder))
    assert policy.phantom_ids == (100,)
    drawn = answers_of(policy, temperature=2.0)
    assert all(100 not in one.token_ids for one in drawn)
    batch = LAY_OUT["padded"](((10, 11, 12),), ((drawn[0].token_ids,),), 0)
    assert completion_logprobs(policy.model, batch, entropy="gradient").entropy.isfinite().all()


def test_an_answer_with_an_id_that_has_no_token_is_malformed(folder):
    pad_vocabulary(folder, 4)
    policy = load_model(config_of(folder))
    assert malformed(policy, [5, VOCABULARY]) == PHANTOM
    assert malformed(policy, [5, 6]) is None


def test_gradients_do_not_reach_rows_without_a_token(folder):
    pad_vocabulary(folder, 4)
    policy = load_model(config_of(folder))
    batch = LAY_OUT["padded"](((10, 11, 12),), (((5, 6, 1),),), 0)
    completion_logprobs(policy.model, batch).logprobs.sum().backward()
    gradient = policy.model.lm_head.weight.grad
    assert gradient[:VOCABULARY].abs().sum() > 0
    assert gradient[VOCABULARY:].abs().sum() == 0


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_end_tokens_of_either_file_end_an_answer_and_are_kept_by_a_checkpoint(folder, tmp_path, file):
    change(folder / file, eos_token_id=[1, *range(2, 130)])
    policy = load_model(config_of(folder))
    assert policy.eos_token_ids[:3] == (1, 2, 3)
    stopped = [one for one in answers_of(policy) if one.finish_reason == "stop"]
    assert stopped
    assert all(one.token_ids[-1] < 130 and all(token >= 130 for token in one.token_ids[:-1]) for one in stopped)
    save_model(policy, tmp_path / "saved")
    assert load_model(config_of(tmp_path / "saved")).eos_token_ids == policy.eos_token_ids


def test_what_closes_a_turn_of_the_chat_template_ends_an_answer(folder):
    change(folder / "tokenizer_config.json", chat_template=TURNS)
    policy = load_model(config_of(folder, chat=True))
    assert policy.eos_token_ids == (1, 0)


def test_a_chat_template_that_closes_a_turn_with_text_names_no_end(tiny_policy):
    tiny_policy.tokenizer.chat_template = "{% for m in messages %}{{ m.content }} over{% endfor %}"
    assert turn_end(tiny_policy.tokenizer) is None
    tiny_policy.tokenizer.chat_template = "{{ raise_exception('no assistant here') }}"
    assert turn_end(tiny_policy.tokenizer) is None


def test_a_raw_prompt_begins_with_the_begin_token_once(folder):
    begin_with_pad(folder)
    policy = load_model(config_of(folder))
    plain = policy.tokenizer("ab", add_special_tokens=False)["input_ids"]
    assert policy.begin_ids == (0,)
    assert encode_prompt(policy, Prompt("t", "ab")) == (0, *plain)
    assert encode_prompt(policy, Prompt("t", "<pad>ab")) == (0, *plain)  # the template has put it there


def test_a_chat_prompt_has_the_begin_token_that_its_template_writes_and_no_other(folder):
    begin_with_pad(folder)
    change(folder / "tokenizer_config.json", chat_template="<pad>" + TURNS)
    policy = load_model(config_of(folder, chat=True))
    assert encode_prompt(policy, Prompt("t", "", (Message("user", "ab"),))).count(0) == 2  # the begin and the turn's end


def test_a_tokenizer_without_a_begin_token_puts_nothing_before_a_prompt(tiny_policy):
    assert begin_tokens(tiny_policy.tokenizer) == ()
    assert in_words(tiny_policy.tokenizer, ()) == "none"
    assert in_words(tiny_policy.tokenizer, (1,)) == "<eos> (1)"


def test_a_nan_among_the_weights_is_said_as_that(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"NaN or infinity among its weights \(model.layers.0.mlp.up_proj.weight\)"):
        load_model(config_of(folder))
