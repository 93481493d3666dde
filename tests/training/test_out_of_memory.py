"""Memory that runs out ends a run with one sentence: what was done, and what to change. The errors are really raised."""

import contextlib
import gc
import os
import re
import resource
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.cli.running import MISTAKE
from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig, ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.engines.torch_engine import Torch, TorchEngine
from gapo_cli.engines.vllm_engine import VLLM
from gapo_cli.errors import is_out_of_memory
from gapo_cli.planning.footprint import Settings
from gapo_cli.planning.memory_advice import Case, in_words
from gapo_cli.training.learners import policy_update as update
from gapo_cli.training.learners import supervised as supervised_loop
from gapo_cli.training.learners.planned_rollouts import at_limit
from gapo_cli.training.out_of_memory import OutOfMemory, memory_watched

TOO_MUCH = 2**50
CUDA = (
    "CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.20 GiB is free. "
    "Including non-PyTorch memory, this process has 77.90 GiB memory in use."
)


@contextlib.contextmanager
def only_so_much_more(mebibytes):
    """The process gets no more address space than it has and so much."""
    had = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * 2**20, had[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, had)


def multiply_with_little_memory():
    matrix = torch.ones(3000, 3000)  # 36 MB, and as much for the product
    with only_so_much_more(20):
        return [matrix @ matrix for _ in range(10)]


@pytest.mark.parametrize(
    "ask",
    [lambda: torch.empty(TOO_MUCH), lambda: np.empty(TOO_MUCH), lambda: bytearray(TOO_MUCH), multiply_with_little_memory],
    ids=["torch", "numpy", "python", "matrix product"],
)
def test_what_the_allocators_of_a_cpu_raise_is_known(ask):
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        ask()
    assert is_out_of_memory(raised.value)


def test_what_cuda_raises_is_known():
    # as torch words them; there is no device here to raise them
    assert is_out_of_memory(torch.OutOfMemoryError(CUDA))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))


def test_other_errors_go_through_as_they_are():
    with pytest.raises(RuntimeError) as raised, memory_watched("adding", "update", lambda _: "no"):
        torch.ones(2) + torch.ones(3)
    assert not isinstance(raised.value, OutOfMemory)
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.slow
def test_the_sentence_says_what_was_done_how_much_was_asked_for_and_what_helps():
    with (
        pytest.raises(OutOfMemory) as raised,
        memory_watched("learning in step 3", "update", lambda phase: f"advice for {phase}"),
    ):
        torch.empty(2**40, dtype=torch.float32)
    assert str(raised.value) == "out of memory learning in step 3 (4096.00 GiB more were asked for): advice for update"
    with (
        pytest.raises(OutOfMemory, match=r"loading the model \(2.32 GiB more were asked for\)"),
        memory_watched("loading the model", "loading", str),
    ):
        raise torch.OutOfMemoryError(CUDA)


def test_what_the_failed_pass_held_is_free_when_the_sentence_is_there():
    kept = []

    def learn():
        activations = torch.ones(1000)
        kept.append(weakref.ref(activations))
        torch.empty(TOO_MUCH)

    with pytest.raises(OutOfMemory), memory_watched("learning", "update", lambda _: ""):
        learn()
    gc.collect()
    assert kept[0]() is None


SHAPE = ShapeConfig(24, 2048, 16, 16, 128, 5504, 32000)  # 1.2 billion parameters


def settings(**trainer):
    scale = TrainerConfig(
        1, 4, 4, OptimizerConfig(1e-5), max_tokens_per_microbatch=8192, device="cuda", dtype="bfloat16", **trainer
    )
    return Settings(
        SHAPE, ModelConfig("m", "m", 2048), scale, AlgorithmConfig("grpo"), SamplingConfig(8, 256), Torch(max_rows=64)
    )


def case_of(settings, prompts, learns=True):
    """With every answer at the limit."""
    return Case(settings, at_limit(settings.sampling, prompts), max(prompts), learns)


def test_advice_is_for_what_was_done_and_the_largest_saving_comes_first():
    case = case_of(settings(), [1000, 900, 800, 700])
    learning = in_words("update", case)
    found = re.findall(r"(?:; |\. )(\S+=[^;]+?) would save ([\d.]+) (GiB|MiB)", learning)
    assert found[0][0].startswith("model.lora.rank=64")  # moments and gradients of 1.2 billion parameters are the most
    assert {"trainer.gradient_checkpointing=true", "trainer.max_tokens_per_microbatch=2047"} <= {words for words, _, _ in found}
    saved = [float(amount) / (1 if unit == "GiB" else 1024) for _, amount, unit in found]
    assert saved == sorted(saved, reverse=True)
    sampling = in_words("rollout", case)
    assert "engine.max_rows=16" in sampling
    assert "gradient_checkpointing" not in sampling
    assert "engine.max_rows" not in in_words("loading", case)
    assert "model.dtype=bfloat16" in in_words("loading", case)


def test_an_engine_that_takes_its_memory_at_the_start_is_given_less():
    case = case_of(replace(settings(), engine=VLLM(kv_cache_gib=24)), [1000])
    assert "engine.kv_cache_gib=6 would save 18.00 GiB" in in_words("rollout", case)
    assert "engine.max_rows" not in in_words("rollout", case)


def test_the_price_of_a_change_is_what_the_estimate_says():
    case, checkpointed = case_of(settings(), [1000]), case_of(settings(gradient_checkpointing=True), [1000])
    saved = (case.taken("update") - checkpointed.taken("update")) / 2**30
    assert f"trainer.gradient_checkpointing=true would save {saved:.2f} GiB" in in_words("update", case)


def test_what_only_samples_has_no_moments_and_nothing_to_save_of_them():
    learning, sampling = (case_of(settings(), [1000], learns) for learns in (True, False))
    parameters = 1_345_423_360  # of SHAPE: two tables of 65.5 million, 24 layers of 50.6 million
    assert learning.taken("rollout") - sampling.taken("rollout") == 8 * parameters
    assert "optimizer.name=adamw_8bit" in in_words("rollout", learning)
    assert "optimizer.name=adamw_8bit" not in in_words("rollout", sampling)


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    return [*smallest(write_tasks(tmp_path / "tasks.jsonl"), tiny_model_folder), "hydra.run.dir=run", "-q"]


def failing(module, times):
    """The passes of `module`, of which that with gradients asks for too much for the `times`th time."""
    true, calls = module.completion_logprobs, []

    def logprobs(*arguments, **keywords):
        calls.extend([1] if torch.is_grad_enabled() else [])
        if len(calls) == times:
            torch.empty(TOO_MUCH)
        return true(*arguments, **keywords)

    return logprobs


@pytest.mark.slow
def test_training_ends_with_the_advice_and_the_last_checkpoint_can_be_resumed(words, monkeypatch, capsys):
    # two mini-batches a step, one pass each: the third is in the second step
    with monkeypatch.context() as patched:
        patched.setattr(update, "completion_logprobs", failing(update, 3))
        assert run_command(["train", *words, "trainer.max_tokens_per_microbatch=0"]) == MISTAKE
    said = capsys.readouterr().err
    assert "gapo: out of memory learning in step 2 (4194304.00 GiB more were asked for): learning takes" in said
    assert "trainer.gradient_checkpointing=true would save" in said
    assert "Traceback" not in said
    assert run_command(["train", "resume=run", "-q"]) == 0


@pytest.mark.slow
def test_the_supervised_stage_names_its_own_key(words, monkeypatch, capsys):
    settings = [
        "stage=sft",
        "supervised.tokens=800",
        "supervised.tokens_per_batch=300",
        "supervised.max_tokens_per_microbatch=300",
    ]
    monkeypatch.setattr(supervised_loop, "completion_logprobs", failing(supervised_loop, 2))
    assert run_command(["train", *words, *settings]) == MISTAKE
    said = capsys.readouterr().err
    assert "gapo: out of memory learning from batch 2 (4194304.00 GiB more were asked for): learning takes" in said
    assert "supervised.max_tokens_per_microbatch=255 would save" in said


@pytest.mark.slow
@pytest.mark.parametrize("ask", [["train", "stage=sft"], ["eval"]], ids=" ".join)
def test_what_loads_no_reference_is_not_told_to_do_without_it(words, monkeypatch, capsys, ask):
    monkeypatch.setattr(TorchEngine, "generate", lambda *_, **__: torch.empty(TOO_MUCH))
    assert run_command([*ask, *words, "algorithm.terms.kl.coefficient=0.1"]) == MISTAKE
    said = capsys.readouterr().err
    assert "sampling answers takes" in said
    assert "algorithm.terms" not in said


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["rollout", "eval"])
def test_sampling_that_does_not_fit_names_the_rows_of_the_engine(words, monkeypatch, capsys, verb):
    monkeypatch.setattr(TorchEngine, "generate", lambda *_, **__: torch.empty(TOO_MUCH))
    assert run_command([verb, *words]) == MISTAKE
    said = capsys.readouterr().err
    assert said.startswith("gapo: out of memory sampling (4194304.00 GiB more were asked for): sampling answers takes")
    assert "engine.max_rows=" in said


@pytest.mark.slow
def test_a_machine_with_too_little_memory_ends_a_run_in_a_sentence(words, capsys):
    # 4,096 rows in one pass, of a model of two layers
    large = ["trainer.layout=padded", "trainer.max_tokens_per_microbatch=0", "sampling.group_size=2048", "evaluation.tasks=1"]
    with only_so_much_more(500):
        assert run_command(["train", *words, *large]) == MISTAKE
    said = capsys.readouterr().err
    assert said.startswith("gapo: out of memory learning in step 1")
    assert "trainer.layout=packed would save" in said
