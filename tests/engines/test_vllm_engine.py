"""Real vLLM beside the trainer and the torch engine."""

import random
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from vllm_parts import CONTEXT, needs_vllm, save_random_model

from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines import vllm_engine
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.engines.vllm_engine import CPU_BLOCK_TOKENS, PREFILL_TOKENS, VLLM
from gapo_cli.errors import UserError
from gapo_cli.models.load import load_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import pad
from gapo_cli.models.packing.logprobs import completion_logprobs

pytestmark = needs_vllm
SAMPLING = SamplingConfig(group_size=4, max_new_tokens=24)
GREEDY = SamplingConfig(group_size=1, max_new_tokens=24, temperature=0.0)
# lengths on both sides of the 32 tokens of a block of vLLM's prefix cache on a CPU, and of its usual 128
PROMPTS = [tuple(40 + (7 * index + length) % 200 for index in range(length)) for length in (7, 1, 130, 260, 12, 3)]
SEEDS = [11, 12, 13, 14, 15, 16]
ROUNDING = 1e-4
"""What log-probabilities of two float32 implementations may differ by; measured: 3e-5 at most with 135 million weights."""


@pytest.fixture(scope="module", params=["tied", "untied"])
def folder(request, tmp_path_factory, tiny_model_folder):
    path = tmp_path_factory.mktemp(request.param)
    save_random_model(path, tiny_model_folder, tie_word_embeddings=request.param == "tied")
    return path


@pytest.fixture
def policy(folder) -> LoadedModel:
    return load_model(ModelConfig("random", str(folder), CONTEXT))


@pytest.fixture(scope="module")
def started(folder):
    """One vLLM for all tests of a model; `engine` gives it the weights of the test's own policy."""
    return VLLM(kv_cache_gib=0.05)(policy=load_model(ModelConfig("random", str(folder), CONTEXT)))


@pytest.fixture
def engine(started, policy):
    started.sync(policy)
    return started


def tokens_of(answers):
    return [[completion.token_ids for completion in group] for group in answers]


def mismatch(engine, policy, temperature=1.0, prompts=PROMPTS, trainer_temperature=None) -> float:
    """The largest |difference| to the trainer's log-probabilities, in nats."""
    answers = engine.generate(prompts, replace(SAMPLING, temperature=temperature), SEEDS[: len(prompts)])
    batch = pad(prompts, tokens_of(answers), pad_id=0)
    with torch.no_grad():
        forced = completion_logprobs(policy.model, batch, trainer_temperature or temperature).logprobs.numpy()
    return float(np.abs(np.concatenate([completion.logprobs for group in answers for completion in group]) - forced).max())


def move(policy, by=0.01, seed=0):
    """Moves every weight by `by`, up or down."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator).sign())


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_log_probabilities_are_the_trainers_after_temperature(engine, policy, temperature):
    assert mismatch(engine, policy, temperature) < ROUNDING


def test_greedy_log_probabilities_are_those_at_temperature_one(engine, policy):
    assert mismatch(engine, policy, temperature=0.0, trainer_temperature=1.0) < ROUNDING


def test_greedy_answers_are_the_torch_engines_token_by_token_and_text_by_text(engine, policy):
    ours, theirs = engine.generate(PROMPTS, GREEDY, SEEDS), TorchEngine(policy, 64).generate(PROMPTS, GREEDY, SEEDS)
    reasons = set()
    for (one,), (other,) in zip(ours, theirs, strict=True):
        assert (one.token_ids, one.text, one.finish_reason) == (other.token_ids, other.text, other.finish_reason)
        assert np.allclose(one.logprobs, other.logprobs, atol=ROUNDING)
        reasons.add(one.finish_reason)
    assert "length" in reasons


def test_sampled_answers_end_at_the_first_end_token_or_at_the_limit(engine, policy):
    ends, reasons = set(policy.eos_token_ids), set()
    assert len(ends) == 17  # sixteen of the config, one of the tokenizer
    for completion in (one for group in engine.generate(PROMPTS, SAMPLING, SEEDS) for one in group):
        reasons.add(completion.finish_reason)
        assert len(completion.logprobs) == len(completion.token_ids)
        assert not ends & set(completion.token_ids[:-1])
        assert (completion.token_ids[-1] in ends) == (completion.finish_reason == "stop")
        assert completion.finish_reason == "stop" or len(completion.token_ids) == 24
        said = completion.token_ids[:-1] if completion.finish_reason == "stop" else completion.token_ids
        assert completion.text == policy.tokenizer.decode(said)
    assert reasons == {"stop", "length"}


def test_log_probabilities_stay_the_trainers_over_ten_updates(engine, policy):
    differences = []
    for update in range(10):
        move(policy, seed=update)
        engine.sync(policy)
        differences.append(mismatch(engine, policy))
    assert max(differences) < ROUNDING


def test_equal_seeds_give_equal_completions_however_prompts_are_batched(engine):
    together = tokens_of(engine.generate(PROMPTS, SAMPLING, SEEDS))
    assert tokens_of(engine.generate(PROMPTS, SAMPLING, SEEDS)) == together
    assert tokens_of(engine.generate(PROMPTS[::-1], SAMPLING, SEEDS[::-1]))[::-1] == together
    assert [
        tokens_of(engine.generate([prompt], SAMPLING, [seed]))[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
    ] == together
    larger = tokens_of(engine.generate(PROMPTS, replace(SAMPLING, group_size=6), SEEDS))
    assert [group[:4] for group in larger] == together


def test_completions_of_a_group_differ_and_so_do_those_of_another_seed(engine):
    (group,), (other,) = (tokens_of(engine.generate(PROMPTS[2:3], SAMPLING, [seed])) for seed in (1, 2))
    assert len(set(group)) == 4
    assert not set(group) & set(other)


def test_tokens_are_drawn_from_the_whole_distribution_of_the_trainer(engine, policy):
    """Nothing of a default is left: no top-k, top-p, penalty or other temperature."""
    draws, prompt = 4096, PROMPTS[0]
    settings = SamplingConfig(group_size=64, max_new_tokens=1, temperature=1.3)
    answers = engine.generate([prompt] * (draws // 64), settings, range(draws // 64))
    counted = np.bincount([completion.token_ids[0] for group in answers for completion in group], minlength=258)
    with torch.no_grad():
        logits = policy.model(torch.tensor([prompt])).logits[0, -1].double()
    expected = draws * torch.softmax(logits / 1.3, -1).numpy()
    common = expected >= 5  # the rest is one class
    chi_square = ((counted - expected)[common] ** 2 / expected[common]).sum()
    chi_square += (counted[~common].sum() - expected[~common].sum()) ** 2 / expected[~common].sum()
    # chi square with as many degrees of freedom as common tokens: mean n, deviation sqrt(2n)
    assert common.sum() > 50
    assert abs(chi_square - common.sum()) < 4 * np.sqrt(2 * common.sum())


def test_without_a_reset_the_prefix_cache_answers_with_old_weights(engine, policy, monkeypatch):
    """The trap that `sync` is written around is real, and so is the test of log-probabilities that finds it."""
    long = [prompt for prompt in PROMPTS if len(prompt) > CPU_BLOCK_TOKENS]
    assert mismatch(engine, policy, prompts=long) < ROUNDING
    with monkeypatch.context() as patched:
        patched.setattr(engine.llm, "reset_prefix_cache", lambda: True)
        move(policy)
        engine.sync(policy)
        assert mismatch(engine, policy, prompts=long) > 100 * ROUNDING
    engine.sync(policy)
    assert mismatch(engine, policy, prompts=long) < ROUNDING


def test_without_repacking_a_tied_head_keeps_its_old_weights(engine, policy, monkeypatch):
    if not policy.model.config.tie_word_embeddings:
        pytest.skip("an untied head is loaded like any other matrix")
    with monkeypatch.context() as patched:
        patched.setattr(vllm_engine, "_repack_head", lambda model: None)
        move(policy)
        engine.sync(policy)
        assert mismatch(engine, policy) > 100 * ROUNDING
    engine.sync(policy)
    assert mismatch(engine, policy) < ROUNDING


def test_adapters_are_synced_merged(engine, policy):
    peft = pytest.importorskip("peft", reason="the extra lora is not installed")
    adapted = peft.get_peft_model(policy.model, peft.LoraConfig(r=4, target_modules=["q_proj", "o_proj", "down_proj"])).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # zero at first: an adapter that changes nothing
                parameter.normal_(std=0.3)
    with_adapter = replace(policy, model=adapted)
    assert mismatch(engine, with_adapter) > 100 * ROUNDING
    engine.sync(with_adapter)
    assert mismatch(engine, with_adapter) < ROUNDING


def test_the_random_state_and_the_threads_of_the_process_are_left_alone(engine):
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    engine.generate(PROMPTS, SAMPLING, SEEDS)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)  # vLLM puts a function there that does nothing
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)


def test_an_interrupted_call_leaves_nothing_behind(engine, policy):
    def interrupt(what, done, total):
        raise KeyboardInterrupt

    expected = tokens_of(engine.generate(PROMPTS, SAMPLING, SEEDS))
    with pytest.raises(KeyboardInterrupt):
        engine.generate(PROMPTS, SAMPLING, SEEDS, interrupt)
    assert not engine.llm.llm_engine.has_unfinished_requests()
    move(policy, by=0.0)
    engine.sync(policy)
    assert tokens_of(engine.generate(PROMPTS, SAMPLING, SEEDS)) == expected


def test_progress_counts_completions_to_the_last(engine):
    seen = []
    engine.generate(PROMPTS, SAMPLING, SEEDS, lambda *report: seen.append(report))
    assert {(what, total) for what, _, total in seen} == {("sampling", 24)}  # 6 prompts of 4
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1][1] == 24


def test_prompts_that_do_not_fit_are_refused_and_no_prompts_give_no_answers(engine):
    assert engine.generate([], SAMPLING, []) == []
    with pytest.raises(UserError, match="prompt 1 has 489 tokens: with sampling.max_new_tokens=24 it does not fit"):
        engine.generate([PROMPTS[0], (40,) * 489], SAMPLING, SEEDS[:2])
    # 488 + 24 = 512: to the brim
    assert len(engine.generate([(40,) * 488], GREEDY, SEEDS[:1])) == 1
    with pytest.raises(UserError, match="prompt 0 has no tokens"):
        engine.generate([()], SAMPLING, SEEDS[:1])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("qwen3", {"tie_word_embeddings": True}), ("llama", {}), ("mistral", {})],
)
def test_the_other_families_of_the_paper_are_synced_too(kind, settings, tmp_path, tiny_model_folder):
    save_random_model(tmp_path, tiny_model_folder, kind, **settings)
    policy = load_model(ModelConfig(kind, str(tmp_path), CONTEXT))
    engine = VLLM(kv_cache_gib=0.05)(policy=policy)
    assert mismatch(engine, policy) < ROUNDING
    move(policy)
    engine.sync(policy)
    assert mismatch(engine, policy) < ROUNDING


def test_greedy_answers_with_guessing_ahead_are_those_without(tmp_path, tiny_model_folder):
    save_random_model(tmp_path, tiny_model_folder)
    policy = load_model(ModelConfig("random", str(tmp_path), CONTEXT))
    engine = VLLM(kv_cache_gib=0.05, speculative_tokens=3)(policy=policy)
    # repetitions, so that there is something to guess from
    prompts = [(*prompt[:20] * 3,) for prompt in PROMPTS]
    assert tokens_of(engine.generate(prompts, GREEDY, SEEDS)) == tokens_of(
        TorchEngine(policy, 64).generate(prompts, GREEDY, SEEDS)
    )
    with pytest.raises(UserError, match="engine.speculative_tokens=3"):
        engine.generate(prompts, SAMPLING, SEEDS)


def test_prompts_that_do_not_fit_one_pass_are_sampled_from_with_seeds_of_their_own(engine, policy):
    length, count = 300, 20
    assert length * count > PREFILL_TOKENS
    assert PREFILL_TOKENS % length  # so that a pass would end inside a prompt
    # prompts of different first tokens share no cached prefix
    prompts = [(20 + index, *(40 + place % 200 for place in range(1, length))) for index in range(count)]
    sampling = SamplingConfig(group_size=2, max_new_tokens=4)
    groups = engine.generate(prompts, sampling, range(count))
    assert [len(group) for group in groups] == [2] * count
    assert all(1 <= len(one.token_ids) <= 4 for group in groups for one in group)


def test_an_engine_that_nobody_holds_is_gone_when_the_next_one_starts(engine, policy):
    second = VLLM(kv_cache_gib=0.05)(policy=policy)
    second.generate(PROMPTS, SAMPLING, SEEDS)
    gone = weakref.ref(second.llm)
    del second
    third = VLLM(kv_cache_gib=0.05)(policy=policy)
    assert gone() is None
    assert mismatch(third, policy) < ROUNDING
    assert mismatch(engine, policy) < ROUNDING


FIRST_OF_A_PROCESS = """
import sys, weakref
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.vllm_engine import VLLM
from gapo_cli.models.load import load_model

def main():
    policy = load_model(ModelConfig("random", sys.argv[1], int(sys.argv[2])))
    first = VLLM(kv_cache_gib=0.05)(policy=policy)
    first.generate([[5, 6, 7]], SamplingConfig(group_size=2, max_new_tokens=4), [0])
    gone = weakref.ref(first.llm)
    del first
    VLLM(kv_cache_gib=0.05)(policy=policy)
    print("gone:", gone() is None)

main()
"""


def test_the_engine_of_a_sweeps_first_job_is_gone_when_the_next_one_starts(folder):
    """The first of a process imports vLLM, which keeps the frames of errors that it catches then."""
    command = [sys.executable, "-c", FIRST_OF_A_PROCESS, str(folder), str(CONTEXT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "gone: True" in done.stdout, done.stderr


def test_an_engine_starts_where_numba_is_loaded(policy):
    import llvmlite.binding  # noqa: F401

    engine = VLLM(kv_cache_gib=0.05)(policy=policy)
    assert mismatch(engine, policy) < ROUNDING


def test_a_cache_that_holds_no_answer_is_a_mistake_of_the_user(policy):
    with pytest.raises(UserError, match="engine=vllm: vLLM does not start with engine.kv_cache_gib=1e-06"):
        VLLM(kv_cache_gib=1e-6)(policy=policy)
