"""A learner is a part: the built-in ones and a user's own go in by the same door, a yaml under stage/ with a `_target_`."""

import json
from pathlib import Path

import pytest
from own_learner import CountingLearning
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.cli.running import MISTAKE
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree
from gapo_cli.runs.contents import contents_of


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    yaml = tmp_path / "own" / "stage" / "counting.yaml"
    yaml.parent.mkdir(parents=True)
    yaml.write_text("_target_: own_learner.Counting\nto: 4\n")
    own = ["--config-dir", "own", "allow_targets=[own_learner]", "stage=counting"]
    return [*smallest(write_tasks(tmp_path / "tasks.jsonl"), tiny_model_folder), *own, "-q"]


def rows_of(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_learner_of_ones_own_has_the_life_of_the_others(words, monkeypatch, capsys):
    assert run_command(["train", *words, "hydra.run.dir=whole"]) == 0
    rows = rows_of("whole")
    assert [row.get("counting/square") for row in rows] == [None, 1, 4, 9, 16]
    assert [row["step"] for row in rows if "val/exact_match" in row] == [0, 2, 4]
    assert json.loads(Path("whole/checkpoints/best/best.json").read_text())["metric"] == "val/edit_similarity"
    assert json.loads(Path("whole/learner.json").read_text())["steps"] == 4

    learn = CountingLearning.learn

    def breaking(learning, step, gathered):
        if step == 4:
            raise MemoryError
        return learn(learning, step, gathered)

    with monkeypatch.context() as patched:
        patched.setattr(CountingLearning, "learn", breaking)
        assert run_command(["train", *words, "hydra.run.dir=run"]) == MISTAKE
    assert "out of memory counting at count 4: use smaller batches" in capsys.readouterr().err
    assert run_command(["train", "resume=run", "allow_targets=[own_learner]", "--config-dir", "own", "-q"]) == 0
    assert contents_of(Path("run")) == contents_of(Path("whole"))
    assert run_command(["train", "resume=run", "allow_targets=[own_learner]", "--config-dir", "own", "-q"]) == MISTAKE
    assert "all 4 counts are done; give more of them" in capsys.readouterr().err


def test_a_learner_of_ones_own_that_fails_ends_the_run_with_a_checkpoint_of_the_last_whole_step(words, monkeypatch, capsys):
    learn = CountingLearning.gather

    def failing(learning, step):
        return learn(learning, step) if step == 1 else 1 / 0

    monkeypatch.setattr(CountingLearning, "gather", failing)
    assert run_command(["train", *words, "hydra.run.dir=run"]) == MISTAKE
    said = " ".join(capsys.readouterr().err.split())
    assert "gapo: stage=Counting: raised ZeroDivisionError: division by zero (at " in said
    assert Path("run/checkpoints/step-00001").is_dir()


@pytest.mark.slow
def test_a_checkpoint_of_another_stage_is_not_resumed(words, capsys):
    assert run_command(["train", *words, "hydra.run.dir=run"]) == 0
    capsys.readouterr()
    assert run_command(["train", "resume=run", "stage=sft", "-q"]) == MISTAKE
    assert "is of stage=counting, and this run is stage=sft; give stage=counting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ([], "dpo.pairs=rejected: none of the 12 training tasks has a rejected text"),
        (["dpo.pairs=rollouts"], "dpo.pairs=rollouts: needs dpo.rollouts=RUN"),
        (["dpo.pairs=rollouts", "dpo.rollouts=no/run"], "no/run: no such file or folder; name a rollouts parquet"),
        (
            ["engine=openai", "engine.base_url=http://localhost:1/v1", "engine.model=m"],
            "a served model (engine=openai) cannot be",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_learnt_from_pairs_is_answered_in_one_sentence(words, capsys, asked, sentence):
    assert run_command(["train", *words, "stage=dpo", *asked]) == MISTAKE
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "learner"),
    [
        ([], "PolicyGradient"),
        (["stage=sft"], "Supervised"),
        (["stage=dpo"], "Preference"),
        (["experiment=nano_1_trunk"], "Supervised"),
        (["experiment=nano_3_noisy"], "Supervised"),
        (["experiment=nano_1_trunk", "stage=rl"], "PolicyGradient"),
    ],
    ids=str,
)
def test_stage_is_chosen_on_the_command_line_or_by_an_experiment(asked, learner):
    with open_tree(None) as hydra:
        config = compose_overrides(hydra, command_overrides("train", asked))
    assert config.stage._target_.rpartition(".")[2] == learner
