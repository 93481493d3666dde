"""verl 0.9.1 itself, with Ray, on CPU workers, from a folder that `gapo handover verl` wrote: .ci/verl makes the environment.

Not run with the other tests: verl wants another transformers than gapo.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gapo_cli.doctor.made_up_tasks import probe_tasks
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.grpo import GRPO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("verl") is None, reason="verl is not installed: run .ci/verl or `make test-verl`"
    ),
]
HERE = Path(__file__).parent / "verl_lane"
"""What CPUs need."""
RUN_S = int(os.environ.get("VERL_RUN_S", "300"))
"""A failure inside one of verl's weight syncs does not end its run: it hangs."""
SETTINGS = [
    "experiment=debug", "tau=0.3", "algorithm.terms.kl.coefficient=0.05", "trainer.prompts_per_mini_batch=4",
    "trainer.optimizer.warmup_steps=0", "data=jsonl", "evaluation.tasks=2",
]  # fmt: skip
ON_CPUS = [
    "actor_rollout_ref.rollout.agent.num_workers=1", "reward.num_workers=1",
    "actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=64", "data.dataloader_num_workers=0",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units=1", "ray_kwargs.ray_init.num_cpus=16",
    "+ray_kwargs.ray_init.num_gpus=2", "+ray_kwargs.ray_init.include_dashboard=False",
    "+ray_kwargs.ray_init.object_store_memory=400000000", "trainer.val_before_train=False",
]  # fmt: skip


def gapo(*words, cwd):
    ran = subprocess.run(
        [sys.executable, "-m", "gapo_cli", *words], check=False, capture_output=True, text=True, cwd=cwd, timeout=RUN_S
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


PLAIN = ["actor_rollout_ref.rollout.name=plain_torch"]
VLLM = [
    "actor_rollout_ref.rollout.name=vllm_cpu", "actor_rollout_ref.rollout.enforce_eager=True",
    "actor_rollout_ref.rollout.free_cache_engine=False", "+actor_rollout_ref.rollout.enable_sleep_mode=False",
    "actor_rollout_ref.rollout.max_num_seqs=16", "actor_rollout_ref.rollout.max_num_batched_tokens=2048",
    "actor_rollout_ref.rollout.enable_chunked_prefill=False",
]  # fmt: skip


@pytest.fixture(scope="module", params=["plain_torch", "vllm_cpu"])
def trained(request, tmp_path_factory):
    """The folder of a handover after two steps on two workers, what was watched, and what verl printed. With `vllm_cpu`, on one worker,
    answers come from verl's own vLLM server."""
    if request.param == "vllm_cpu" and importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed beside verl: VERL_VLLM=1 .ci/verl")
    library, rollout = ("cpu_vllm", VLLM) if request.param == "vllm_cpu" else ("cpu_library", PLAIN)
    used = [f"actor_rollout_ref.model.external_lib={library}", f"reward.custom_reward_function.path=pkg://{library}", *rollout]
    workers = "1" if request.param == "vllm_cpu" else "2"
    place = tmp_path_factory.mktemp("verl")
    rows = [json.dumps(task.to_dict()) for task in probe_tasks(6)]
    (place / "tasks").mkdir()
    (place / "tasks" / "train.jsonl").write_text("\n".join(rows + [row.replace("probe-", "again-") for row in rows]) + "\n")
    (place / "tasks" / "eval.jsonl").write_text("\n".join(row.replace("probe-", "held-out-") for row in rows[:2]) + "\n")
    folder, seen = place / "handed over", place / "watched.jsonl"
    gapo("handover", "verl", *SETTINGS, "data.path=tasks", str(folder), "--gpus", workers, cwd=place)
    environment = {
        **os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(HERE), "WATCHED": str(seen), "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "cpu_platform", "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "GLOO_SOCKET_IFNAME": "lo", "RAY_DISABLE_MEMORY_MONITOR": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }  # fmt: skip
    log = place / "verl.log"
    with log.open("w") as written:
        ran = subprocess.run(
            ["timeout", str(RUN_S), folder / "run.sh", *ON_CPUS, *used], check=False, stdout=written, stderr=subprocess.STDOUT,
            env=environment, cwd=place,
        )  # fmt: skip
    assert ran.returncode == 0, log.read_text()[-6000:]
    return folder, [json.loads(line) for line in seen.read_text().splitlines()], log.read_text()


def steps_of(seen):
    return [row for row in seen if row["what"] == "advantages"]


def test_the_advantages_in_verl_are_ours(trained):
    _, seen, _ = trained
    steps = steps_of(seen)
    assert len(steps) == 2
    others = 0.0
    for step in steps:
        index, scores, values = (np.array(step[name]) for name in ("index", "scores", "values"))
        assert len(set(index)) == 4
        for group in set(index):
            (rows,) = np.nonzero(index == group)
            rewards = scores[rows][None]
            ours = GAPO(0.3)(rewards).values[0]
            np.testing.assert_allclose(values[rows], ours, atol=1e-6)
            others = max(others, float(np.abs(ours - GRPO()(rewards).values[0]).max()))
    assert others > 0.1  # verl's own would have been others


def test_verl_logs_their_mean_and_the_loss_that_follows_from_it(trained):
    _, seen, printed = trained
    for name, sign in (("critic/advantages/mean", 1), ("actor/pg_loss", -1)):
        logged = [float(value) for value in re.findall(rf"{name}:(?:np\.float\d+\()?(-?[\d.e-]+)", printed)]
        means = [sign * step["token_mean"] for step in steps_of(seen)]
        np.testing.assert_allclose(logged[:2], means, atol=1e-5)


def test_answers_are_rewarded_from_their_whole_text(trained):
    _, seen, _ = trained
    rewards = [row for row in seen if row["what"] == "reward"]
    assert {row["score"] for row in rewards} > {0.0}
    assert any(row["text"] for row in rewards)
    earned = [row["score"] for row in rewards]
    for step in steps_of(seen):
        assert all(min(abs(score - one) for one in earned) < 1e-6 for score in step["scores"])


def test_both_replicas_get_the_weights_that_moved(trained):
    _, seen, printed = trained
    differences = [float(one) for one in re.findall(r"rollout_probs_diff_mean:(?:np\.float\d+\()?([\d.e-]+)", printed)]
    assert len(differences) == 2
    assert max(differences) < 1e-4  # mean |p - p of the engine|, after a sync too
    if not any(row["what"] == "sync" for row in seen):
        return  # vLLM's server is verl's own, and not watched
    moved = {row["replica"]: row["moved"] for row in seen if row["what"] == "sync"}
    assert set(moved) == {0, 1}
    assert all(value > 0 for value in moved.values())


def test_the_checkpoint_comes_back_as_a_model_with_the_bases_tokenizer(trained, tmp_path):
    folder, _, _ = trained
    said = gapo("handover", "verl", "--back", str(folder), str(tmp_path / "model"), cwd=tmp_path)
    assert "after step 2" in said
    back = json.loads((tmp_path / "model" / "tokenizer.json").read_text())
    assert back["model"] == json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
