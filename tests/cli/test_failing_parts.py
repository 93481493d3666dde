"""A user's own reward or template that fails in a run, by the command line."""

import json
import sys

import numpy as np
import pytest
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.runs.group_files import read_groups

REWARD = '''
import numpy as np

class Flaky:
    """Fails on every answer of one task, from the second step on."""
    calls = 0
    unlucky = None

    def __call__(self, predictions, tasks):
        Flaky.calls += 1
        if Flaky.calls == 2:
            Flaky.unlucky = tasks[0].id
        if any(task.id == Flaky.unlucky for task in tasks):
            raise TimeoutError("sandbox timed out")
        return {"score": np.array([index % 2 for index in range(len(predictions))])}
'''


@pytest.fixture
def words(tmp_path, tiny_model_folder, monkeypatch):
    """A run of two steps, whose reward fails in the second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flaky_rewards", raising=False)
    (tmp_path / "flaky_rewards.py").write_text(REWARD)
    (tmp_path / "mine" / "reward").mkdir(parents=True)
    (tmp_path / "mine" / "reward" / "flaky.yaml").write_text("_target_: flaky_rewards.Flaky\n")
    run = smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder)
    own = ["--config-dir", "mine", "reward=flaky", "allow_targets=[flaky_rewards]", "evaluation.every_steps=0"]
    return ["train", *run, *own, f"hydra.run.dir={tmp_path / 'run'}"]


def test_a_reward_that_raises_ends_the_run_with_a_checkpoint_and_its_batch(words, tmp_path, capsys):
    assert run_command(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "reward=Flaky: raised TimeoutError: sandbox timed out (at flaky_rewards.py:14 in __call__)" in said
    assert "gapo: task " in said
    assert "internal error" not in said
    assert (tmp_path / "run" / "checkpoints" / "step-00001").is_dir()
    kept = read_groups(tmp_path / "run" / "stopped" / "step-00002.parquet")
    assert kept
    assert np.isnan([group.scores for group in kept]).all()


@pytest.mark.slow
def test_a_reward_that_raises_is_counted_where_that_is_asked_for(words, tmp_path):
    assert run_command([*words, "reward.on_error=missing", "-q"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    failed = [row["reward/failed"] for row in rows if "reward/failed" in row]
    assert failed[0] == 0
    assert failed[1] == rows[-1]["reward/missing"] == 2  # both answers of one task


def test_another_word_for_on_error_is_refused(words, capsys):
    assert run_command([*words, "reward.on_error=skip"]) == 2
    assert "reward.on_error=skip: need one of stop, missing" in capsys.readouterr().err.replace("\n", " ")


TEMPLATE = '''
from gapo_cli.records import Prompt

class Odd:
    """Fails on every answer. Answers end soon, so that there are some."""
    stop = tuple(map(chr, range(33, 127)))

    def render(self, task):
        return Prompt(task.id, task.excerpt)

    def answer(self, task, region):
        return region

    def parse(self, task, text):
        raise LookupError("no such marker")
'''


@pytest.mark.parametrize("verb", ["train", "eval", "rollout"])  # training evaluates before its first step
def test_answers_that_a_template_cannot_read_are_kept(verb, here, tiny_model_folder, monkeypatch, capsys):
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "odd_templates", raising=False)
    (here / "odd_templates.py").write_text(TEMPLATE)
    (here / "mine" / "prompt").mkdir(parents=True)
    (here / "mine" / "prompt" / "odd.yaml").write_text("_target_: odd_templates.Odd\n")
    run = smallest(write_tasks(here / "mine.jsonl"), tiny_model_folder)
    own = ["--config-dir", "mine", "prompt=odd", "allow_targets=[odd_templates]", "sampling.max_new_tokens=40"]
    assert run_command([verb, *run, *own, "hydra.run.dir=run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "prompt=Odd: raised LookupError: no such marker (at odd_templates.py:15 in parse)" in said
    path = here / "run" / "stopped" / "step-00000.parquet"
    assert said.endswith(f"the answers at hand are in {path}")
    kept = read_groups(path)
    assert any(completion.text for group in kept for completion in group.completions)
