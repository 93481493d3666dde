"""gapo train stage=dpo by the command line: pairs from rejected texts and from the rollouts of an earlier command."""

import json
from pathlib import Path

import pandas as pd
import pytest
from parts import TASKS_PER_SPLIT, smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.cli.running import MISTAKE
from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.runs.contents import contents_of
from gapo_cli.training.batches.pair_sources import no_margin
from gapo_cli.training.learners.preference import PreferenceLearning


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = write_tasks(tmp_path / "tasks.jsonl", rejected=True)
    return [
        "experiment=debug", "data=jsonl", f"data.path={tasks}", "evaluation.tasks=4", "evaluation.samples=1", "trainer.threads=1",
        "-q",
    ]  # fmt: skip


def rows_of(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_pairs_from_rejected_texts_and_rollouts_are_learnt_from_together(words, capsys):
    assert run_command(["rollout", *words, "rollout.tasks=6", "hydra.run.dir=sampled"]) == 0
    rewards = pd.read_parquet("sampled/rollouts.parquet").groupby("task_id")["reward"]
    contrasts = int((rewards.max() - rewards.min() >= 0.5).sum())
    assert contrasts > 0
    pairs = ["stage=dpo", "dpo.pairs=both", "dpo.rollouts=sampled", "dpo.steps=null", "dpo.epochs=1"]
    assert run_command(["train", *words, *pairs, "hydra.run.dir=run"]) == 0
    rows = [row for row in rows_of("run") if "dpo/loss" in row]
    assert rows[-1]["dpo/pairs"] == TASKS_PER_SPLIT + contrasts
    assert rows[-1]["dpo/accuracy"] > 0.5
    assert json.loads(Path("run/learner.json").read_text())["title"] == "preference (DPO)"
    assert Path("run/checkpoints/best/best.json").is_file()
    assert "Reward margin" in Path("run/report.html").read_text()


@pytest.mark.slow
def test_a_run_that_ran_out_of_memory_is_resumed_bit_for_bit(words, tiny_model_folder, monkeypatch, capsys):
    train = ["train", *smallest(Path("tasks.jsonl"), tiny_model_folder), "stage=dpo", "dpo.steps=4", "dpo.epochs=null", "-q"]
    assert run_command([*train, "hydra.run.dir=whole"]) == 0
    learn = PreferenceLearning.learn

    def breaking(learning, step, gathered):
        if step == 3:
            raise MemoryError
        return learn(learning, step, gathered)

    with monkeypatch.context() as patched:
        patched.setattr(PreferenceLearning, "learn", breaking)
        assert run_command([*train, "hydra.run.dir=run"]) == MISTAKE
    assert "out of memory learning from batch 3: learning takes" in capsys.readouterr().err
    assert run_command(["train", "resume=run", "-q"]) == 0
    assert contents_of(Path("run")) == contents_of(Path("whole"))


@pytest.mark.slow
def test_what_is_typed_and_not_read_is_said_once_and_a_resumed_run_has_its_own_source_of_pairs(
    words, tiny_model_folder, capsys
):
    train = ["train", *smallest(Path("tasks.jsonl"), tiny_model_folder), "stage=dpo", "dpo.steps=2", "dpo.epochs=null"]
    assert run_command([*train, "trainer.optimizer.learning_rate=1e-3", "hydra.run.dir=run"]) == 0
    unread = "not read with stage=dpo dpo.pairs=rejected: trainer.optimizer.learning_rate=1e-3 (dpo.optimizer.learning_rate is)"
    assert unread in " ".join(capsys.readouterr().out.split())
    assert run_command(["train", "resume=run", "dpo.steps=3"]) == 0
    assert "trainer.optimizer.learning_rate" not in capsys.readouterr().out
    assert run_command(["train", "resume=run", "dpo.steps=4", "dpo.pairs=sampled", "-q"]) == MISTAKE
    assert capsys.readouterr().err == (
        "gapo: run/rollouts/step-00001.parquet: missing; a resumed run with dpo.pairs=sampled has its pairs from there; give the "
        "dpo.pairs that the run was started with, or start a new run\n"
    )


def test_rollouts_without_a_group_are_no_source_of_pairs():
    config = PreferenceConfig(pairs="rollouts", rollouts="sampled")
    assert no_margin([], config) == (
        "there are no groups of dpo.rollouts=sampled; name another run, or sample answers with gapo rollout"
    )
