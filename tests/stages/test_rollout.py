"""gapo rollout by the command line: how much is sampled, in parts that outlive a stop, scored as in training, and replayed."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parts import TASKS_PER_SPLIT, smallest, write_tasks
from serving import start_server, stop_server

from gapo_cli.cli.entry import run_command
from gapo_cli.metric_names import CUT, MALFORMED, MEAN_LENGTH, MISSING, NO_SHAPE, NORMAL, ZERO_SPREAD
from gapo_cli.rollouts.overlong import overlong_penalty
from gapo_cli.runs.group_files import read_groups
from gapo_cli.runs.rollout_parts import RolloutParts
from gapo_cli.stages.rollout import RolloutResult, summary_lines

IN_PARTS = "rollout.completions_per_part=6"
"""Three prompts with groups of two: four parts of the twelve tasks."""


@pytest.fixture(scope="module")
def words(tmp_path_factory, tiny_model_folder):
    """Of a run whose data are prepared once."""
    folder = tmp_path_factory.mktemp("made")
    return [*smallest(write_tasks(folder / "mine.jsonl"), tiny_model_folder), f"data.directory={folder / 'data'}"]


@pytest.fixture(scope="module")
def parts(words, tmp_path_factory):
    """The folder of a rollout in parts that nothing stopped; tests must not write into it."""
    folder = tmp_path_factory.mktemp("rollout") / "parts"
    rollout(*words, IN_PARTS, f"hydra.run.dir={folder}")
    return folder


def rollout(*words: str) -> None:
    assert run_command(["rollout", *words, "-q"]) == 0


def stopping_at(part, monkeypatch):
    """Ctrl-C, or a kill, while a part is being kept."""
    add = RolloutParts.add

    def add_or_stop(parts, number, *others):
        if number == part:
            raise KeyboardInterrupt
        add(parts, number, *others)

    monkeypatch.setattr(RolloutParts, "add", add_or_stop)


def test_corruption_is_refused_since_it_is_of_training_alone(here, words, capsys):
    assert run_command(["rollout", *words, "reward.corruption={kind:flip,probability:0.1}"]) == 2
    assert "reward.corruption: corrupts the rewards of training alone; leave it out" in capsys.readouterr().err


def test_the_line_of_shapes_says_how_many_groups_have_none():
    row = {MEAN_LENGTH: 2.0, CUT: 0.0, MALFORMED: 0.0, MISSING: 3.0, NO_SHAPE: 2.0}

    def said(metrics):
        return summary_lines(RolloutResult(Path("run"), Path("run/rollouts.parquet"), 3, 6, 0, row | metrics))

    some = said({NORMAL: 0.5, ZERO_SPREAD: 0.5, "reward/em/mean": 1e300})
    assert "reward: em 1e+300" in some
    unknown = "; 2 groups have fewer than two rewards and are left out"
    assert f"shapes of the groups' rewards: normal 50.0%, without spread 50.0%{unknown}" in some
    assert {"reward: all are missing", f"shapes of the groups' rewards: none is known{unknown}"} <= set(said({}))


@pytest.mark.slow
def test_so_many_tasks_are_chosen_by_the_seed_and_the_first_line_says_how_many(here, words, capsys):
    assert run_command(["rollout", *words, "rollout.tasks=5", "hydra.run.dir=one"]) == 0
    shown = capsys.readouterr().out
    assert "5 of the 12 tasks of split train (rollout.tasks=null: all)\n" in shown
    assert "5 prompts x 2 completions = 10 completions\n" in shown
    rollout(*words, "rollout.tasks=5", "hydra.run.dir=again")
    rollout(*words, "rollout.tasks=5", "rollout.seed=1", "rollout.split=eval", "hydra.run.dir=other")
    chosen = {
        name: [group.task.id for group in read_groups(here / name / "rollouts.parquet")] for name in ("one", "again", "other")
    }
    assert chosen["one"] == chosen["again"]
    assert len(set(chosen["one"])) == 5
    assert {task_id.split("-")[0] for task_id in chosen["other"]} == {"eval"}
    numbers = {name: [int(task_id.split("-")[1]) for task_id in found] for name, found in chosen.items()}
    assert numbers["one"] == sorted(numbers["one"]) and numbers["other"] != numbers["one"]


@pytest.mark.slow
def test_parts_change_nothing_but_rounding(here, words, parts):
    rollout(*words, "hydra.run.dir=whole")
    whole, divided = (read_groups(folder / "rollouts.parquet") for folder in (here / "whole", parts))
    assert [group.task.id for group in divided] == [group.task.id for group in whole]
    assert [one.token_ids for group in divided for one in group.completions] == [
        one.token_ids for group in whole for one in group.completions
    ]
    assert sorted(path.name for path in parts.iterdir() if not path.name.startswith(".")) == [
        "config.resolved.yaml", "environment.json", "rollouts.parquet",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("again", ["the same command", "resume"])
def test_a_stopped_rollout_goes_on_and_ends_as_one_that_was_not(again, here, words, parts, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stopping_at(2, patch)
        assert run_command(["rollout", *words, IN_PARTS, "hydra.run.dir=one"]) == 130
    said = capsys.readouterr().out
    assert said.startswith("12 prompts x 2 completions = 24 completions\nabout ")
    assert " to go, as fast as the first 3 prompts\n" in said
    assert f"stopped: 6 of 12 groups are kept; go on with gapo rollout resume={here / 'one'}\n" in said
    folder = here / "one" / "rollouts.parts"
    (folder / ".part-00002.parquet.abc.tmp").write_bytes(b"half")  # as a kill leaves it
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert sorted(kept) == ["part-00000.parquet", "part-00001.parquet"]
    sampled = []
    add = RolloutParts.add
    monkeypatch.setattr(
        RolloutParts, "add", lambda parts, number, *others: sampled.append(number) or add(parts, number, *others)
    )
    command = ["resume=one"] if again == "resume" else [*words, IN_PARTS, "hydra.run.dir=one"]
    assert run_command(["rollout", *command]) == 0
    assert "12 prompts x 2 completions = 24 completions; 6 of the prompts are answered already\n" in capsys.readouterr().out
    assert sampled == [2, 3]
    assert (here / "one" / "rollouts.parquet").read_bytes() == (parts / "rollouts.parquet").read_bytes()
    assert not folder.exists()


@pytest.mark.slow
def test_a_killed_rollout_goes_on_and_ends_as_one_that_was_not(driver, here, words, parts):
    killed = driver.run(["rollout", *words, IN_PARTS, "hydra.run.dir=one", "-q"], here, {"write": "parquet", "call": 3})
    assert killed["status"] == -9, killed["output"]
    assert len(list((here / "one" / "rollouts.parts").glob("part-*"))) == 2
    rollout("resume=one")
    assert (here / "one" / "rollouts.parquet").read_bytes() == (parts / "rollouts.parquet").read_bytes()


@pytest.mark.slow
def test_parts_of_other_settings_are_refused(here, words, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stopping_at(1, patch)
        assert run_command(["rollout", *words, IN_PARTS, "hydra.run.dir=one", "-q"]) == 130
    capsys.readouterr()
    assert run_command(["rollout", *words, IN_PARTS, "hydra.run.dir=one", "sampling.temperature=0.5", "-q"]) == 2
    shown = capsys.readouterr().err
    assert "rollouts.parts: holds parts of a rollout with other settings (sampling.temperature was 1.0 and is 0.5)" in shown
    assert shown.count("\n") == 1
    rollout("resume=one")  # the settings of the run are its own still


@pytest.mark.slow
def test_a_model_that_changed_since_is_told(here, words, monkeypatch, tmp_path, tiny_model_folder, capsys):
    with monkeypatch.context() as patch:
        stopping_at(1, patch)
        assert run_command(["rollout", *words, IN_PARTS, "hydra.run.dir=one", "-q"]) == 130
    weights = tiny_model_folder / "model.safetensors"
    times = weights.stat().st_atime_ns, weights.stat().st_mtime_ns
    os.utime(weights, ns=(times[0], times[1] + 1))
    try:
        assert run_command(["rollout", "resume=one", "-q"]) == 2
    finally:
        os.utime(weights, ns=times)
    assert "model's model.safetensors was" in capsys.readouterr().err


@pytest.mark.slow
def test_a_served_model_that_was_interrupted_goes_on(here, tmp_path, monkeypatch):
    served = start_server(tmp_path)
    try:
        asked = [
            "data=jsonl", f"data.path={write_tasks(tmp_path / 'mine.jsonl')}", "engine=openai", f"engine.base_url={served.url}",
            "engine.model=no/such-model", "sampling.group_size=2", IN_PARTS, "trainer.threads=1",
        ]  # fmt: skip
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        rollout(*asked, "hydra.run.dir=whole")
        with monkeypatch.context() as patch:
            stopping_at(2, patch)
            assert run_command(["rollout", *asked, "hydra.run.dir=one", "-q"]) == 130
        before = len(served.requests)
        # what no answer depends on may be given again
        rollout("resume=one", "engine.concurrency=3")
        # the third part was answered and not kept: its answers are in the journal, the last three prompts are asked
        assert len(served.requests) == before + 3
        assert (here / "one" / "rollouts.parquet").read_bytes() == (here / "whole" / "rollouts.parquet").read_bytes()
    finally:
        stop_server(served)


@pytest.fixture
def dapo(words):
    """Answers that differ in length, and a penalty that many of them get."""
    return [
        *words,
        "algorithm=dapo",
        "estimator=gapo",
        "algorithm.dynamic_sampling=false",
        "algorithm.overlong.buffer_tokens=3",
    ]


def test_the_length_penalty_is_taken_off_as_in_training(here, dapo):
    rollout(*dapo, "hydra.run.dir=one")
    rows = pd.read_parquet(here / "one" / "rollouts.parquet")
    penalty = overlong_penalty(rows["length"].to_numpy(), 4, 3)
    assert (penalty < 0).any()
    assert rows["reward"].to_numpy() == pytest.approx(rows["score"].to_numpy() + penalty, abs=0)


@pytest.mark.slow
def test_a_replay_of_trainings_first_step_has_its_rewards_and_advantages(here, dapo):
    assert run_command(["train", *dapo, "trainer.steps=1", "hydra.run.dir=run", "-q"]) == 0
    recorded = here / "run" / "rollouts" / "step-00001.parquet"
    rollout(*dapo, "engine=replay", f"engine.path={recorded}", "hydra.run.dir=again")
    ours, theirs = read_groups(here / "again" / "rollouts.parquet"), read_groups(recorded)
    assert [group.sampled_at for group in ours] == [0] * len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.task, mine.prompt_token_ids, mine.completions) == (other.task, other.prompt_token_ids, other.completions)
        for name in ("scores", "rewards", "advantages"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(other, name))
        np.testing.assert_array_equal((mine.baseline, mine.low, mine.high), (other.baseline, other.low, other.high))


@pytest.mark.slow
def test_recorded_rollouts_are_scored_again_with_another_reward_and_nothing_else_changes(here, words, capsys):
    rollout(*words, "hydra.run.dir=one")
    # neither data nor model nor prompt of the recording is needed
    command = ["rollout", "engine=replay", "engine.path=one", "reward=ed", "sampling.group_size=2", "trainer.threads=1"]
    assert run_command([*command, "model=hf", "model.path=nowhere", "hydra.run.dir=again"]) == 0
    assert "12 prompts x 2 completions = 24 completions\n" in capsys.readouterr().out
    before, after = (pd.read_parquet(here / name / "rollouts.parquet") for name in ("one", "again"))
    same = [name for name in before.columns if name in after.columns and not name.startswith("component_")]
    same = [name for name in same if name not in ("score", "reward", "advantage", "baseline", "low", "high")]
    assert {"prompt", "task", "prompt_token_ids", "token_ids", "region", "malformed"} <= set(same)
    for name in same:
        assert before[name].map(repr).equals(after[name].map(repr)), name
    assert after["score"].tolist() == before["component_ed"].tolist()
    # over a recording nothing is written
    assert run_command([*command, "hydra.run.dir=one", "-q"]) == 2
    assert "hydra.run.dir=one: holds a run of gapo rollout; name another folder\n" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pool_is_replayed_in_smaller_groups_and_not_in_larger_ones(here, words, capsys):
    rollout(*words, "sampling.group_size=5", IN_PARTS, "hydra.run.dir=pool")
    replay = [*words, "engine=replay", "engine.path=pool"]
    rollout(*replay, "sampling.group_size=3", "rollout.tasks=4", "hydra.run.dir=smaller")
    pool = {group.task.id: group for group in read_groups(here / "pool" / "rollouts.parquet")}
    for group in read_groups(here / "smaller" / "rollouts.parquet"):
        assert group.completions == pool[group.task.id].completions[:3]
    assert run_command(["rollout", *replay, "sampling.group_size=6", "-q"]) == 2
    assert (
        "sampling.group_size=6: only 5 answers to task train-0 are recorded in pool; need at most that many"
        in capsys.readouterr().err
    )
    assert run_command(["rollout", *replay, "sampling.max_new_tokens=1", "-q"]) == 2
    assert "give the value that it was recorded with" in capsys.readouterr().err


@pytest.mark.slow
def test_an_evaluation_of_recorded_answers_needs_every_task_and_is_sampled(here, words, capsys):
    rollout(*words, "rollout.split=eval", "hydra.run.dir=pool")
    replay = [*words, "engine=replay", "engine.path=pool"]
    assert run_command(["eval", *replay, "-q"]) == 2
    assert "engine=replay: the recorded answers were sampled, none is greedy" in capsys.readouterr().err
    assert run_command(["eval", *replay, "evaluation.greedy=false", "samples=2", "hydra.run.dir=one", "-q"]) == 0
    summary = json.loads((here / "one" / "eval" / "step-00000.json").read_text())
    assert summary["sampled"]["overall"]["predictions"] == 2 * 4
    assert run_command(["eval", *replay, "evaluation.greedy=false", "evaluation.split=train", "-q"]) == 2
    assert "pool: has no answers to task train-" in capsys.readouterr().err


@pytest.mark.slow
def test_groups_larger_than_what_the_engine_holds_are_the_same(here, words):
    rollout(*words, "sampling.group_size=6", "rollout.tasks=3", "hydra.run.dir=whole")
    rollout(*words, "sampling.group_size=6", "rollout.tasks=3", "engine.max_rows=4", IN_PARTS, "hydra.run.dir=cut")
    whole, cut = (read_groups(here / name / "rollouts.parquet") for name in ("whole", "cut"))
    assert [[one.token_ids for one in group.completions] for group in cut] == [
        [one.token_ids for one in group.completions] for group in whole
    ]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nowhere", "nowhere: no such file or folder; name a rollouts parquet"),
        (".", ".: has neither rollouts.parquet nor rollouts/"),
        ("mine.txt", "mine.txt: is no parquet file, or was cut"),
    ],
)
def test_what_is_no_recording_is_one_sentence(path, sentence, here, capsys):
    (here / "mine.txt").write_text("no rollouts")
    assert run_command(["rollout", "engine=replay", f"engine.path={path}", "-q"]) == 2
    shown = capsys.readouterr().err
    assert sentence in shown and shown.count("\n") == 1
    assert list(here.rglob("config.resolved.yaml")) == []


@pytest.mark.slow
def test_the_tasks_of_a_training_run_are_answered_by_its_newest_policy(here, words):
    assert run_command(["train", *words, "trainer.steps=4", "hydra.run.dir=run", "-q"]) == 0  # 16 prompts of 12 tasks
    rollout(*words, "engine=replay", "engine.path=run", "hydra.run.dir=again")
    newest = {}
    for step in range(1, 5):
        newest |= {group.task.id: group for group in read_groups(here / "run" / "rollouts" / f"step-{step:05d}.parquet")}
    found = read_groups(here / "again" / "rollouts.parquet")
    assert len(found) == TASKS_PER_SPLIT == len(newest)
    assert [group.completions for group in found] == [newest[group.task.id].completions for group in found]
