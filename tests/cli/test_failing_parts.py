"""A user's own reward or template that fails in a run, by the command line."""

import json
import sys

import numpy as np
import pytest
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.runs.group_files import read_groups
from gapo_cli.runs.outcome import outcome_recorded, read_outcome

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


def put_in(folder, monkeypatch, module, source, yaml=None):
    """Writes a module of the user's that can be imported from `folder` and, as "GROUP/NAME: CLASS", the yaml that chooses it."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    (folder / f"{module}.py").write_text(source)
    if yaml is not None:
        choice, part = yaml.split(": ")
        path = folder / "mine" / f"{choice}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"_target_: {module}.{part}\n")


@pytest.fixture
def words(tmp_path, tiny_model_folder, monkeypatch):
    """A run of two steps, whose reward fails in the second."""
    monkeypatch.chdir(tmp_path)
    put_in(tmp_path, monkeypatch, "flaky_rewards", REWARD, "reward/flaky: Flaky")
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
    put_in(here, monkeypatch, "odd_templates", TEMPLATE, "prompt/odd: Odd")
    run = smallest(write_tasks(here / "mine.jsonl"), tiny_model_folder)
    own = ["--config-dir", "mine", "prompt=odd", "allow_targets=[odd_templates]", "sampling.max_new_tokens=40"]
    assert run_command([verb, *run, *own, "hydra.run.dir=run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "prompt=Odd: raised LookupError: no such marker (at odd_templates.py:15 in parse)" in said
    path = here / "run" / "stopped" / "step-00000.parquet"
    assert said.endswith(f"the answers at hand are in {path}")
    kept = read_groups(path)
    assert any(completion.text for group in kept for completion in group.completions)


TERM = """
from dataclasses import dataclass

@dataclass
class Column:
    coefficient: float
    every_token = True
    needs_reference = False
    needs_entropy = False

    def __call__(self, tokens):
        return tokens.logprobs[:, None]
"""


def test_a_loss_term_of_another_shape_ends_the_run_and_keeps_its_batch(here, tiny_model_folder, monkeypatch, capsys):
    put_in(here, monkeypatch, "odd_terms", TERM)
    run = smallest(write_tasks(here / "mine.jsonl"), tiny_model_folder)
    own = ["+algorithm.terms.mine={_target_:odd_terms.Column,coefficient:0.1}", "allow_targets=[odd_terms]"]
    assert run_command(["train", *run, *own, "evaluation.every_steps=0", "hydra.run.dir=run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "gapo: algorithm.terms.mine=Column: gives a tensor of shape (" in said
    path = here / "run" / "stopped" / "step-00001.parquet"
    assert said.endswith(f"the answers at hand are in {path}")
    assert all(group.advantages is not None for group in read_groups(path))


HUNGRY = """
class Hungry:
    def __call__(self, predictions, tasks):
        raise MemoryError("no room")
"""


def test_a_reward_that_runs_out_of_memory_ends_a_rollout_in_a_sentence(here, tiny_model_folder, monkeypatch, capsys):
    put_in(here, monkeypatch, "hungry_rewards", HUNGRY, "reward/hungry: Hungry")
    run = smallest(write_tasks(here / "mine.jsonl"), tiny_model_folder)
    own = ["--config-dir", "mine", "reward=hungry", "allow_targets=[hungry_rewards]", "hydra.run.dir=run"]
    assert run_command(["rollout", *run, *own]) == 2
    assert "gapo: out of memory scoring the answers" in " ".join(capsys.readouterr().err.split())


def test_code_that_calls_exit_in_a_stage_has_failed_and_the_outcome_says_so(here, tiny_model_folder, monkeypatch, capsys):
    def leaves(experiment, display):
        sys.exit(0)

    monkeypatch.setattr("gapo_cli.stages.train.train", leaves)
    run = smallest(write_tasks(here / "mine.jsonl"), tiny_model_folder)
    assert run_command(["train", *run, "hydra.run.dir=run"]) == 2
    assert "gapo: exit(0) was called before the command was done (at " in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit), outcome_recorded(here):
        sys.exit(0)
    assert read_outcome(here).status == "failed"
