"""Rollouts against two references: transformers' own generate, and a teacher-forced pass over what was sampled.
Which prompts are in when, and within what memory: test_decoding.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.decoding.completion_cache import Cells
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import UserError
from gapo_cli.models.load import load_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import pad
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.packing.shared_prefix import take_shared_prefixes
from gapo_cli.records import Completion

SAMPLING = SamplingConfig(group_size=4, max_new_tokens=24)
PROMPTS = [tuple(range(40, 40 + length)) for length in (7, 1, 30, 12, 12, 3)]
SEEDS = [11, 12, 13, 14, 15, 16]


@pytest.fixture
def policy(tiny_policy: LoadedModel) -> LoadedModel:
    """The tiny model, made to end its answers at all sorts of lengths: one token in sixteen or so is an end."""
    return replace(tiny_policy, eos_token_ids=(1, *range(60, 76)))


def tokens_of(answers: list[tuple[Completion, ...]]) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in group] for group in answers]


def test_logprobs_equal_a_teacher_forced_pass(policy):
    answers = TorchEngine(policy, max_rows=16).generate(PROMPTS, replace(SAMPLING, temperature=0.8), SEEDS)
    lengths = {len(tokens) for group in tokens_of(answers) for tokens in group}
    assert len(lengths) > 5  # ragged, or this shows little
    batch = pad(PROMPTS, tokens_of(answers), pad_id=0)
    with torch.no_grad():
        forced = completion_logprobs(policy.model, batch, temperature=0.8).logprobs.numpy()
    sampled = np.concatenate([completion.logprobs for group in answers for completion in group])
    assert np.abs(sampled - forced).max() < 1e-4


@pytest.mark.parametrize("max_rows", [1, 2, 5])
def test_greedy_answers_are_those_of_transformers_generate(policy, max_rows):
    greedy = SamplingConfig(group_size=1, max_new_tokens=24, temperature=0.0)
    answers = TorchEngine(policy, max_rows).generate(PROMPTS, greedy, SEEDS)
    for prompt, (completion,) in zip(PROMPTS, answers, strict=True):
        reference = policy.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=list(policy.eos_token_ids),
        )
        assert list(completion.token_ids) == reference[0, len(prompt) :].tolist()


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "mistral"])
def test_every_family_is_decoded_as_generate_does_by_heads_that_share_keys(policy, model_type):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type, vocab_size=258, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, head_dim=8, max_position_embeddings=256, initializer_range=0.3, sliding_window=256,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    made = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    other = replace(policy, model=made, eos_token_ids=(1,))
    take_shared_prefixes(other.model)
    greedy = SamplingConfig(group_size=2, max_new_tokens=12, temperature=0.0)
    for prompt, group in zip(PROMPTS, TorchEngine(other, 8).generate(PROMPTS, greedy, SEEDS), strict=True):
        reference = other.model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=1)
        assert [list(completion.token_ids) for completion in group] == 2 * [reference[0, len(prompt) :].tolist()]


@pytest.mark.parametrize("max_rows", [1, 3, 4, 6, 9])
def test_completions_do_not_depend_on_how_prompts_are_batched(policy, max_rows):
    together = TorchEngine(policy, max_rows=1000).generate(PROMPTS, SAMPLING, SEEDS)
    assert tokens_of(TorchEngine(policy, max_rows).generate(PROMPTS, SAMPLING, SEEDS)) == tokens_of(together)


def test_completions_do_not_depend_on_their_neighbours_or_order(policy):
    engine = TorchEngine(policy, max_rows=1000)
    together = tokens_of(engine.generate(PROMPTS, SAMPLING, SEEDS))
    assert tokens_of(engine.generate(PROMPTS[::-1], SAMPLING, SEEDS[::-1]))[::-1] == together
    for index in range(len(PROMPTS)):
        assert tokens_of(engine.generate([PROMPTS[index]], SAMPLING, [SEEDS[index]])) == [together[index]]


def test_a_larger_group_or_limit_only_adds_to_what_is_sampled(policy):
    engine = TorchEngine(policy, max_rows=1000)
    small = tokens_of(engine.generate(PROMPTS, SAMPLING, SEEDS))
    larger = tokens_of(engine.generate(PROMPTS, replace(SAMPLING, group_size=7, max_new_tokens=40), SEEDS))
    assert [[tokens[:24] for tokens in group[:4]] for group in larger] == small


def test_samples_of_a_group_differ_and_so_do_those_of_another_seed(policy):
    engine = TorchEngine(policy, max_rows=1000)
    (group,) = tokens_of(engine.generate(PROMPTS[:1], SAMPLING, [1]))
    assert len(set(group)) == 4
    (other,) = tokens_of(engine.generate(PROMPTS[:1], SAMPLING, [2]))
    assert not set(group) & set(other)


def test_finish_reasons_say_whether_an_end_token_or_the_limit_came_first(policy):
    answers = TorchEngine(policy, max_rows=1000).generate(PROMPTS, SAMPLING, SEEDS)
    ends = set(policy.eos_token_ids)
    reasons = set()
    for completion in (completion for group in answers for completion in group):
        reasons.add(completion.finish_reason)
        assert len(completion.logprobs) == len(completion.token_ids)
        assert not ends & set(completion.token_ids[:-1])
        if completion.finish_reason == "stop":
            assert completion.token_ids[-1] in ends
        else:
            assert completion.token_ids[-1] not in ends
            assert len(completion.token_ids) == 24
    assert reasons == {"stop", "length"}


def test_no_prompts_give_no_answers(policy):
    assert TorchEngine(policy, max_rows=4).generate([], SAMPLING, []) == []


def script(policy: LoadedModel, follow: dict[int, int]) -> None:
    """Rewrites the weights so that each token of `follow` is followed by the one written there, almost surely."""
    model = policy.model
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for axis, (token, successor) in enumerate(follow.items()):
            model.model.embed_tokens.weight[token] = torch.eye(32)[axis]
            model.lm_head.weight[successor] += 20 * torch.eye(32)[axis]  # the norm makes it 20 * sqrt(32)


def test_text_leaves_out_the_end_token_and_keeps_other_special_tokens(tiny_policy):
    tokenizer = tiny_policy.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<pad>"]})  # a marker as a template may use one
    a, b, marker, end = tokenizer.convert_tokens_to_ids(["a", "b", "<pad>", "<eos>"])
    script(tiny_policy, {b: a, a: marker, marker: end})
    ((completion,),) = TorchEngine(tiny_policy, max_rows=4).generate([[b]], replace(SAMPLING, group_size=1), [0])
    assert completion.token_ids == (a, marker, end)
    assert completion.text == "a<pad>"
    assert completion.finish_reason == "stop"


def test_text_that_the_limit_cut_has_all_its_tokens(tiny_policy):
    a, b = tiny_policy.tokenizer.convert_tokens_to_ids(["a", "b"])
    script(tiny_policy, {a: b, b: a})
    ((completion,),) = TorchEngine(tiny_policy, 4).generate([[b]], SamplingConfig(group_size=1, max_new_tokens=3), [0])
    assert (completion.text, completion.finish_reason) == ("aba", "length")


def test_a_leading_blank_survives_decoders_that_drop_it(tiny_policy):
    """Llama's and Mistral's decoders drop the blank of the first token, which in code is indentation."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(vocab={"<eos>": 0, ":": 1, "\u2581": 2, "x": 3}, merges=[]))
    core.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    assert tokenizer.decode([2, 2, 3]) == " x"
    script(tiny_policy, {1: 2, 2: 3, 3: 0})
    policy = replace(tiny_policy, tokenizer=tokenizer, eos_token_ids=(0,))
    ((completion,),) = TorchEngine(policy, 4).generate([[1]], SamplingConfig(group_size=1, max_new_tokens=5), [0])
    assert completion.token_ids == (2, 3, 0)
    assert completion.text == " x"


def test_a_models_own_sampling_settings_do_not_act(policy):
    before = TorchEngine(policy, 16).generate(PROMPTS, SAMPLING, SEEDS)
    policy.model.generation_config.update(do_sample=True, temperature=0.1, top_k=1, repetition_penalty=3.0, max_new_tokens=2)
    assert tokens_of(TorchEngine(policy, 16).generate(PROMPTS, SAMPLING, SEEDS)) == tokens_of(before)


def test_top_k_of_one_samples_what_greedy_takes(policy):
    engine = TorchEngine(policy, max_rows=16)
    greedy = engine.generate(PROMPTS, replace(SAMPLING, group_size=1, temperature=0.0), SEEDS)
    assert tokens_of(engine.generate(PROMPTS, replace(SAMPLING, group_size=1, top_k=1), SEEDS)) == tokens_of(greedy)


@pytest.mark.parametrize("training", [True, False])
def test_generating_leaves_the_models_mode_as_it_was_and_samples_without_dropout(policy, training):
    policy.model.eval()
    before = tokens_of(TorchEngine(policy, 16).generate(PROMPTS, SAMPLING, SEEDS))
    for layer in policy.model.model.layers:
        layer.self_attn.attention_dropout = 0.9
    policy.model.train(training)
    assert tokens_of(TorchEngine(policy, 16).generate(PROMPTS, SAMPLING, SEEDS)) == before
    assert policy.model.training is training


def test_the_mode_comes_back_when_generating_fails(policy, monkeypatch):
    def fail(cells: Cells) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cells, "step", fail)
    policy.model.train()
    with pytest.raises(KeyboardInterrupt):
        TorchEngine(policy, 16).generate(PROMPTS, SAMPLING, SEEDS)
    assert policy.model.training


def test_training_goes_on_after_generating_and_the_engine_samples_from_the_new_weights(policy):
    engine = TorchEngine(policy, max_rows=16)
    before = tokens_of(engine.generate(PROMPTS, SAMPLING, SEEDS))
    batch = pad(PROMPTS, before, pad_id=0)
    optimizer = torch.optim.SGD(policy.model.parameters(), lr=0.5)
    completion_logprobs(policy.model, batch).logprobs.mean().backward()
    optimizer.step()
    engine.sync(policy)
    after = engine.generate(PROMPTS, SAMPLING, SEEDS)
    assert tokens_of(after) != before
    with torch.no_grad():
        forced = completion_logprobs(policy.model, pad(PROMPTS, tokens_of(after), pad_id=0)).logprobs.numpy()
    assert np.abs(np.concatenate([one.logprobs for group in after for one in group]) - forced).max() < 1e-4


def test_syncing_with_another_policy_samples_from_that_one(policy, tiny_config):
    other = load_model(tiny_config)
    a, b = other.tokenizer.convert_tokens_to_ids(["a", "b"])
    script(other, {a: b, b: a})
    engine = TorchEngine(policy, max_rows=16)
    engine.sync(other)
    ((completion,),) = engine.generate([[a]], SamplingConfig(group_size=1, max_new_tokens=3), [0])
    assert completion.text == "bab"


def test_bfloat16_logprobs_are_near_those_of_a_bfloat16_pass(tiny_config):
    policy = load_model(tiny_config, dtype="bfloat16")
    answers = TorchEngine(policy, max_rows=16).generate(PROMPTS, SAMPLING, SEEDS)
    with torch.no_grad(), policy.autocast():
        forced = completion_logprobs(policy.model, pad(PROMPTS, tokens_of(answers), pad_id=0)).logprobs.numpy()
    difference = np.abs(np.concatenate([one.logprobs for group in answers for one in group]) - forced)
    # logits of this model reach 10, where bfloat16 has steps of 1/16
    assert difference.mean() < 0.05
    assert difference.max() < 0.5


def test_a_prompt_that_does_not_fit_the_context_is_refused_before_anything_is_sampled(policy):
    engine = TorchEngine(replace(policy, config=ModelConfig("tiny", "tiny", context_length=32)), max_rows=16)
    engine.generate([tuple(range(8))], SAMPLING, [0])  # 8 + 24 = 32 fits
    with pytest.raises(UserError, match="prompt 1 has 9 tokens: with sampling.max_new_tokens=24 .* model.context_length=32"):
        engine.generate([tuple(range(8)), tuple(range(9))], SAMPLING, [0, 1])


def test_a_prompt_without_tokens_is_refused(policy):
    with pytest.raises(UserError, match="prompt 0 has no tokens"):
        TorchEngine(policy, max_rows=16).generate([()], SAMPLING, [0])


def test_no_rows_at_a_time_and_no_memory_are_refused(policy):
    with pytest.raises(UserError, match="engine.max_rows=0: need a number above 0"):
        TorchEngine(policy, max_rows=0)
    for nothing in (0.0, float("nan")):
        with pytest.raises(UserError, match=f"engine.kv_cache_gib={nothing}: need a number above 0"):
            TorchEngine(policy, max_rows=1, kv_cache_gib=nothing)


def test_progress_never_runs_backwards_however_many_passes_the_prompts_take(tiny_policy):
    seen = []
    prompts = [[11 + index] * 200 for index in range(16)]
    sampling = SamplingConfig(group_size=2, max_new_tokens=8)
    TorchEngine(tiny_policy, max_rows=24).generate(
        prompts, sampling, range(16), lambda what, done, total: seen.append((done, total))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (32, 32)
