"""Our estimators in TRL's trainer: the advantages in its loss are ours, in one process and where groups span two."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from parts import PlainTemplate, small_task

from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.grpo import GRPO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed: pip install trl==1.16.*"),
]
HERE = Path(__file__).parent
G = 4


@pytest.fixture
def warm_trl(warm_python):
    """The processes cost no import of TRL either, and find nothing of trainers that this one has had."""
    import trl  # noqa: F401
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def train(model, out, processes, answers):
    """What each rank saw, of `answers` answers a process and step."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    path = os.pathsep.join([str(HERE.parent), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, *launcher, str(HERE / "trl_run.py"), str(model), str(out), str(answers)],
        check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    seen = [json.loads((out / f"seen-{rank}.json").read_text()) for rank in range(processes)]
    assert {one["world"] for one in seen} == {processes}
    return seen


def check(seen):
    """Every advantage in the loss is the estimator's on its whole group; returns how many groups span processes."""
    wanted, spanning, others = [{} for _ in seen], 0, 0.0
    logged = []
    for batch in range(len(seen[0]["scored"])):
        rows = [(rank, row) for rank, one in enumerate(seen) for row in one["scored"][batch]]
        for start in range(0, len(rows), G):
            group = rows[start : start + G]
            assert len({row["task"] for _, row in group}) == 1
            spanning += len({rank for rank, _ in group}) > 1
            scores = np.array([[row["score"] for _, row in group]], dtype=np.float32).astype(float)
            ours = GAPO(0.3)(scores).values[0]
            others = max(others, float(np.abs(ours - GRPO()(scores).values[0]).max()))
            logged += ours.tolist()
            for (rank, row), value in zip(group, ours, strict=True):
                wanted[rank].setdefault(tuple(row["ids"]), []).append(float(value))
    for rank, one in enumerate(seen):
        assert one["used"], "nothing went into the loss"
        for row in one["used"]:
            nearest = min(abs(row["advantage"] - value) for value in wanted[rank][tuple(row["ids"])])
            assert nearest < 1e-6
        np.testing.assert_allclose(one["logged"][-len(logged) :], logged[-len(one["logged"]) :], atol=1e-6)
        assert one["moved"] > 0
    # TRL's own advantages would have been others
    assert others > 0.1
    return spanning


@pytest.mark.usefixtures("warm_trl")
def test_the_advantages_in_the_loss_are_ours(tiny_model_folder, tmp_path):
    assert check(train(tiny_model_folder, tmp_path, processes=1, answers=8)) == 0


@pytest.mark.usefixtures("warm_trl")
def test_they_are_where_groups_span_two_processes(tiny_model_folder, tmp_path):
    # 6 answers a process: of three groups of 4 the middle one spans both
    seen = train(tiny_model_folder, tmp_path, processes=2, answers=6)
    assert check(seen) == len(seen[0]["scored"])
    assert seen[0]["moved"] == seen[1]["moved"]


def test_a_reward_reads_answers_as_gapo_does(tiny_policy):
    from gapo_cli.integrations.trl import EditReward, edit_dataset
    from gapo_cli.models.prompt_tokens import encode_texts
    from gapo_cli.rewards.edem import ExactMatchAndSimilarity

    task = small_task("one", region="a", target="bc")
    (row,) = edit_dataset([task], PlainTemplate())
    reward = EditReward(ExactMatchAndSimilarity(), PlainTemplate(), tiny_policy.tokenizer, tiny_policy.eos_token_ids)
    (answer,) = encode_texts(tiny_policy.tokenizer, ["bc"])
    whole, cut = (*answer, tiny_policy.eos_token_id), answer
    assert reward([row["prompt"]] * 2, [whole, cut], [row["task"]] * 2) == [1.0, 0.0]
    assert reward.__name__ == "ExactMatchAndSimilarity"
