"""Which completions are in a pass: prompts once, then what is unfinished, filled up from the prompts that wait."""

from dataclasses import replace

import numpy as np
import pytest

from gapo_cli.config.model import ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.decoding import schedule as decoding
from gapo_cli.engines.decoding.completion_cache import Cells, Step
from gapo_cli.engines.decoding.prompt_cache import PromptCache
from gapo_cli.engines.torch_engine import Torch, TorchEngine
from gapo_cli.errors import UserError
from gapo_cli.interfaces import RolloutScale
from gapo_cli.models.loaded import LoadedModel

SAMPLING = SamplingConfig(group_size=4, max_new_tokens=24)
PROMPTS = [tuple(range(40, 40 + length)) for length in (7, 1, 30, 12, 12, 3)]
SEEDS = [11, 12, 13, 14, 15, 16]
OF_TOKEN = 2 * 2 * 1 * 16 * 4
"""Bytes of keys and values of a token in the tiny model: 2 layers, 1 head of 16 numbers, 4 bytes each."""


@pytest.fixture
def policy(tiny_policy: LoadedModel) -> LoadedModel:
    """The tiny model, made to end its answers at all sorts of lengths: one token in sixteen or so is an end."""
    return replace(tiny_policy, eos_token_ids=(1, *range(60, 76)))


def passes_of(policy: LoadedModel) -> list[tuple[int, int]]:
    """(rows, tokens) of every pass through the model from now on."""
    passes = []
    policy.model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return passes


def tokens_of(answers) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in group] for group in answers]


@pytest.fixture
def expected(policy: LoadedModel) -> list[list[tuple[int, ...]]]:
    """What is sampled where everything is in at once."""
    return tokens_of(TorchEngine(policy, max_rows=1000).generate(PROMPTS, SAMPLING, SEEDS))


def lengths_of(tokens: list[list[tuple[int, ...]]]) -> np.ndarray:
    return np.array([len(completion) for group in tokens for completion in group])


def test_a_prompt_is_run_once_for_its_whole_group(policy):
    policy = replace(policy, eos_token_ids=(1,))  # so that none of the first tokens is an end
    passes = passes_of(policy)
    TorchEngine(policy, max_rows=1000).generate(PROMPTS, replace(SAMPLING, group_size=8), SEEDS)
    assert passes[0] == (6, 30)  # all six prompts, padded to the longest
    assert passes[1] == (1, 48)  # then one token a completion


def test_finished_completions_leave_the_batch(policy, expected):
    passes = passes_of(policy)
    TorchEngine(policy, max_rows=1000).generate(PROMPTS, SAMPLING, SEEDS)
    lengths = lengths_of(expected)
    # after the prompts a pass for the n-th token has one token of each completion that is longer than n
    assert passes == [(6, 30), *((1, int((lengths > place).sum())) for place in range(1, lengths.max()))]
    assert passes[1][1] > passes[-1][1] > 0


def test_waiting_prompts_get_in_as_soon_as_others_have_made_room(policy, expected, monkeypatch):
    monkeypatch.setattr(decoding, "WORTH_A_PASS", 1)
    passes = []
    policy.model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: passes.append((type(kwargs["shared_prefix"]), kwargs["input_ids"].shape)), with_kwargs=True
    )
    assert tokens_of(TorchEngine(policy, max_rows=9).generate(PROMPTS, SAMPLING, SEEDS)) == expected
    # prompts wait the longest first, 30, 12, 12, 7, 3, 1 tokens, and two groups of 4 fit into 9
    assert passes[0] == (PromptCache, (2, 30))
    assert passes[1] == (Step, (1, sum(len(tokens) > 1 for group in (expected[2], expected[3]) for tokens in group)))
    # the third gets in while the longest of the first two is still being written
    third = next(index for index, (kind, _) in enumerate(passes) if kind is PromptCache and index)
    assert passes[third] == (PromptCache, (1, 12))
    assert third < max(len(tokens) for group in (expected[2], expected[3]) for tokens in group)
    # and no token is computed twice: the first comes with the prompt, each other is a step's
    assert sum(shape[1] for kind, shape in passes if kind is Step) == (lengths_of(expected) - 1).sum()


def test_small_prompts_are_waited_for_until_a_pass_is_worth_it(policy, expected, monkeypatch):
    counts = {}
    for worth in (1, 10_000):
        monkeypatch.setattr(decoding, "WORTH_A_PASS", worth)
        passes = passes_of(policy)
        assert tokens_of(TorchEngine(policy, max_rows=9).generate(PROMPTS, SAMPLING, SEEDS)) == expected
        counts[worth] = len(passes)
    assert counts[1] < counts[10_000]


def test_no_more_completions_than_max_rows_are_decoded_together(policy, expected, monkeypatch):
    held = []
    step = Cells.step

    def counted(cells: Cells):
        held.append(len(cells))
        return step(cells)

    monkeypatch.setattr(Cells, "step", counted)
    assert tokens_of(TorchEngine(policy, max_rows=9).generate(PROMPTS, SAMPLING, SEEDS)) == expected
    assert 4 < max(held) <= 8


def test_a_group_that_is_larger_than_max_rows_is_cut_and_its_prompt_run_again(policy, expected):
    passes = passes_of(policy)
    assert tokens_of(TorchEngine(policy, max_rows=3).generate(PROMPTS[:1], SAMPLING, SEEDS[:1])) == expected[:1]
    assert passes.count((1, 7)) == 2
    assert {tokens for _, tokens in passes} <= {7, 3, 2, 1}


def test_keys_and_values_stay_within_their_memory(policy, expected, monkeypatch):
    # room for two of the longest prompt's completions at their limit: 30 + 2 * 24 = 78 tokens
    held = []
    step = Cells.step

    def counted(cells: Cells):
        held.append(sum(cache.tokens for cache in cells.caches) + 24 * len(cells))
        return step(cells)

    monkeypatch.setattr(Cells, "step", counted)
    answers = TorchEngine(policy, max_rows=1000, kv_cache_gib=78 * OF_TOKEN / 2**30).generate(PROMPTS, SAMPLING, SEEDS)
    assert tokens_of(answers) == expected
    assert 48 < max(held) <= 78


def test_a_single_completion_is_written_however_small_the_memory(policy, expected):
    assert tokens_of(TorchEngine(policy, 1000, kv_cache_gib=1e-9).generate(PROMPTS, SAMPLING, SEEDS)) == expected


def test_a_prompt_longer_than_a_chunk_is_run_in_pieces(policy, expected, monkeypatch):
    for name, value in (("CHUNK_TOKENS", 8), ("PREFILL_TOKENS", 8)):
        monkeypatch.setattr(decoding, name, value)
    passes = passes_of(policy)
    assert tokens_of(TorchEngine(policy, max_rows=1000).generate(PROMPTS, SAMPLING, SEEDS)) == expected
    assert passes[:8] == [(1, 8), (1, 8), (1, 8), (1, 6), (1, 8), (1, 4), (1, 8), (1, 4)]


def test_one_new_token_needs_no_decoding_step(policy, monkeypatch):
    monkeypatch.setattr(Cells, "step", lambda cells: pytest.fail("a step was made"))
    answers = TorchEngine(policy, max_rows=1000).generate(PROMPTS, replace(SAMPLING, max_new_tokens=1), SEEDS)
    assert {len(completion.token_ids) for group in answers for completion in group} == {1}


def test_progress_counts_completions_up_to_all_of_them(policy):
    calls = []
    TorchEngine(policy, max_rows=8).generate(PROMPTS, SAMPLING, SEEDS, lambda *call: calls.append(call))
    done = [count for _, count, _ in calls]
    assert {(what, total) for what, _, total in calls} == {("sampling", 24)}
    assert done == sorted(done)
    assert done[-1] == 24
    assert len(set(done)) > 3


def test_a_model_whose_attention_is_its_own_is_refused(policy):
    policy.model.set_attn_implementation("sdpa")
    with pytest.raises(UserError, match="the attention of Qwen2Model cannot be replaced"):
        TorchEngine(policy, max_rows=8).generate(PROMPTS, SAMPLING, SEEDS)


def test_planned_memory_is_that_of_the_longest_prompts_within_the_limits():
    shape = ShapeConfig(
        layers=2, hidden_size=32, heads=2, key_value_heads=1, head_size=16, feed_forward_size=64, vocabulary=258
    )
    scale = RolloutScale(shape, SAMPLING, prompts=6, prompt_tokens=30, dtype="float32", device="cpu")
    # 6 prompts of 30 and 24 answers of 24 tokens; 24 rows of 258 logits and probabilities of 4 bytes
    all_in = Torch(max_rows=1000).memory(scale)
    assert all_in.parts == {"keys and values": (180 + 576) * OF_TOKEN, "logits of a step": 2 * 24 * 258 * 4}
    assert not all_in.stays
    assert Torch(max_rows=4).memory(scale).parts["keys and values"] == (30 + 96) * OF_TOKEN
    assert Torch(1000, kv_cache_gib=78 * OF_TOKEN / 2**30).memory(scale).parts["keys and values"] == 78 * OF_TOKEN
    assert Torch(1000, kv_cache_gib=1e-9).memory(scale).parts["keys and values"] == (30 + 24) * OF_TOKEN
    halved = Torch(1000).memory(replace(scale, dtype="bfloat16")).parts["keys and values"]
    assert 2 * halved == all_in.parts["keys and values"]
