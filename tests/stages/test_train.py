"""gapo train and gapo rollout as stages: what they refuse, what they write, how they resume."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parts import OPTIMIZER, Listening, make_experiment, run_of, small_task

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.data import DataConfig
from gapo_cli.config.supervised import ArchitectureConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import CheckpointError, DataError, UserError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.models.load import load_model
from gapo_cli.prompts.nano import NanoTemplate
from gapo_cli.records import TaskSet
from gapo_cli.rewards.ed import EditSimilarity
from gapo_cli.runs.run_files import repeatable
from gapo_cli.stages.rollout import rollout
from gapo_cli.stages.train import train
from gapo_cli.training.checkpoints.manifest import read_manifest, write_manifest
from gapo_cli.training.learners.policy_gradient import PolicyGradient
from gapo_cli.training.learners.supervised import Supervised, SupervisedLearning
from gapo_cli.training.objectives.kl import LowVarKL


class Script:
    """A task source of `counts` tasks a split; task i of a split has a region of i words."""

    def __init__(self, **counts):
        self.counts = counts

    def fingerprint(self):
        return self.counts

    def build(self, progress):
        return TaskSet({split: tuple(task(split, number) for number in range(count)) for split, count in self.counts.items()})


def task(split, number):
    region = "ab " * (number % 4) + f"c{number}\n"
    return small_task(f"{split}-{number}", region, f"d{number}\n", before="x = 1\n", split=split, family="made_up")


@pytest.fixture
def experiment(tmp_path, tiny_config):
    return make_experiment(
        tmp_path / "run",
        replace(tiny_config, context_length=64),
        seed=3,
        data=DataConfig("script", tmp_path / "data"),
        source=Script(train=6, eval=3),
        reward=EditSimilarity(),
        algorithm=AlgorithmConfig("grpo", terms={"kl": LowVarKL(0.01)}),
        trainer=TrainerConfig(
            2, prompts_per_step=4, prompts_per_mini_batch=2, optimizer=OPTIMIZER, checkpoint_every=1, threads=1
        ),
    )


def rows_of(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_training_says_where_everything_lies(experiment):
    display = Listening()
    result = train(experiment, display)
    assert result.checkpoint == experiment.run_dir / "checkpoints" / "step-00002"
    assert f"checkpoint: {result.checkpoint}" in display.said
    assert any(line.startswith("greedy exact match on held-out tasks: ") for line in display.said)
    assert result.best_checkpoint == experiment.run_dir / "checkpoints" / "best"
    assert (result.first["step"], result.last["step"]) == (0, 2)
    assert "val/exact_match" in result.last
    environment = json.loads((experiment.run_dir / "environment.json").read_text())
    assert (environment["seed"], environment["threads"], environment["device"]) == (3, 1, "cpu")
    assert environment["packages"]["torch"]


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_its_own_folder_and_equals_one_that_never_stopped(experiment, tmp_path):
    whole = replace(experiment, run_dir=tmp_path / "whole", trainer=replace(experiment.trainer, steps=4))
    train(whole, QuietDisplay())
    train(experiment, QuietDisplay())
    resumed = replace(whole, run_dir=tmp_path / "unused", resume=str(experiment.run_dir))
    result = train(resumed, QuietDisplay())
    assert result.run_dir == experiment.run_dir
    assert not (tmp_path / "unused").exists()
    # the run of two steps was evaluated at its end, the whole one was not
    names = {name for name in rows_of(whole.run_dir)[2] if not name.startswith(("val/", "timing_s/", "time_s", "perf/"))}
    for ours, theirs in zip(rows_of(experiment.run_dir), rows_of(whole.run_dir), strict=True):
        assert {name: ours.get(name) for name in names} == {name: theirs.get(name) for name in names}
    ours, theirs = (
        (run / "checkpoints" / "step-00004" / "model.safetensors").read_bytes() for run in (experiment.run_dir, whole.run_dir)
    )
    assert ours == theirs


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_layouts_and_precisions_train(experiment, layout, dtype):
    trainer = replace(experiment.trainer, layout=layout, dtype=dtype, steps=1, max_tokens_per_microbatch=64)
    train(replace(experiment, trainer=trainer), QuietDisplay())
    row = rows_of(experiment.run_dir)[1]
    assert math.isfinite(row["actor/grad_norm"])
    # the engine's and the trainer's probabilities agree as far as the precision goes
    assert row["training/rollout_probs_diff_max"] < (1e-4 if dtype == "float32" else 0.1)


def test_prompts_that_pass_the_micro_batch_budget_alone_are_counted_and_trained(experiment):
    # prompts of 10, 13, 16, 19, 10 and 13 tokens; 8 new tokens, the last of which is no input: 16 + 7 and 19 + 7 pass 22
    trainer = replace(experiment.trainer, steps=1, max_tokens_per_microbatch=22)
    display = Listening()
    train(replace(experiment, trainer=trainer), display)
    (line,) = [line for line in display.said if "max_tokens_per_microbatch" in line]
    assert "max_tokens_per_microbatch=22: 2 of 6 training prompts" in line
    assert math.isfinite(rows_of(experiment.run_dir)[1]["actor/grad_norm"])


def test_a_group_of_one_is_refused_before_anything_is_loaded(experiment):
    lone = replace(experiment, sampling=replace(experiment.sampling, group_size=1))
    with pytest.raises(UserError, match=r"sampling.group_size=1: need at least 2 to train"):
        train(lone, QuietDisplay())
    assert not experiment.data.directory.exists()


def test_greedy_rollouts_are_refused_for_training(experiment):
    with pytest.raises(UserError, match=r"sampling.temperature=0: need above 0"):
        train(replace(experiment, sampling=replace(experiment.sampling, temperature=0)), QuietDisplay())


def test_an_empty_task_set_is_refused(experiment):
    with pytest.raises(DataError, match="no task"):
        train(replace(experiment, source=Script(train=0, eval=3)), QuietDisplay())


def test_a_task_longer_than_the_context_is_named(experiment):
    # "x = 1\n" + 3 * "ab " + "c3\n" + ">": 19 tokens and 8 new ones
    short = replace(experiment, model=replace(experiment.model, context_length=26))
    with pytest.raises(
        DataError, match=r"task train-3: its prompt of 19 tokens .* model.context_length=26.*1 of 6 training tasks"
    ):
        train(short, QuietDisplay())


def test_long_tasks_are_skipped_and_counted_on_request(experiment):
    display = Listening()
    skipping = replace(
        experiment, model=replace(experiment.model, context_length=26), data=replace(experiment.data, on_long="skip")
    )
    train(skipping, display)
    assert "left out 1 of 6 training tasks that do not fit model.context_length=26; raise it" in display.said


def test_a_missing_checkpoint_is_named(experiment, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        train(replace(experiment, resume=str(tmp_path / "nowhere")), QuietDisplay())


def test_a_truncated_checkpoint_is_named(experiment):
    result = train(experiment, QuietDisplay())
    state = result.checkpoint / "trainer_state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(
        CheckpointError, match=r"step-00002: trainer_state.safetensors has \d+ bytes, the manifest says .*step-00001"
    ):
        train(replace(experiment, resume=str(experiment.run_dir)), QuietDisplay())


def test_another_seed_cannot_be_resumed(experiment):
    train(experiment, QuietDisplay())
    other = replace(experiment, resume=str(experiment.run_dir), seed=4, trainer=replace(experiment.trainer, steps=3))
    with pytest.raises(CheckpointError, match="trained with seed=3, this run has seed=4"):
        train(other, QuietDisplay())


def test_a_state_of_another_version_is_said(experiment):
    checkpoint = train(experiment, QuietDisplay()).checkpoint
    values = json.loads((checkpoint / "trainer_state.json").read_text())
    del values["learner"]["computed_tokens"]
    (checkpoint / "trainer_state.json").write_text(json.dumps(values))
    manifest = read_manifest(checkpoint)
    (checkpoint / "manifest.json").unlink()
    write_manifest(checkpoint, {key: manifest[key] for key in manifest if key not in ("format", "files")})
    more = replace(experiment, resume=str(experiment.run_dir), trainer=replace(experiment.trainer, steps=3))
    with pytest.raises(CheckpointError, match="another version of gapo has written its state, which has no 'computed_tokens'"):
        train(more, QuietDisplay())


def test_rewards_that_are_all_missing_end_in_a_sentence(experiment):
    class Missing:
        def __call__(self, predictions, tasks):
            return {"score": np.full(len(predictions), np.nan)}

    with pytest.raises(UserError, match="all 16 rewards of step 1 are missing"):
        train(replace(experiment, reward=Missing()), QuietDisplay())


def test_ctrl_c_saves_reports_and_passes_on(experiment):
    scored = []

    class Impatient(EditSimilarity):
        def __call__(self, predictions, tasks):
            scored.append(len(predictions))
            if len(scored) == 2:
                raise KeyboardInterrupt
            return super().__call__(predictions, tasks)

    display = Listening()
    with pytest.raises(KeyboardInterrupt):
        train(replace(experiment, reward=Impatient()), display)
    assert any("stopped after step 1 of 2: saved" in line for line in display.said)
    assert (experiment.run_dir / "checkpoints" / "step-00001" / "manifest.json").is_file()


def begun(experiment, checkpoint=None):
    return PolicyGradient().begin(run_of(experiment, [task("train", 0)], checkpoint=checkpoint))


def test_no_reference_model_is_made_without_kl(experiment):
    assert begun(replace(experiment, algorithm=AlgorithmConfig("grpo"))).updater.reference is None
    assert not any(parameter.requires_grad for parameter in begun(experiment).updater.reference.parameters())


def test_the_reference_of_a_resumed_run_is_the_starting_model(experiment):
    result = train(experiment, QuietDisplay())
    learning = begun(experiment, result.checkpoint)
    start = load_model(experiment.model).model.state_dict()
    assert all((value == start[name]).all() for name, value in learning.updater.reference.state_dict().items())
    assert any((value != start[name]).any() for name, value in learning.policy.model.state_dict().items())


def test_rollouts_of_a_split_are_kept_with_their_advantages(experiment):
    display = Listening()
    result = rollout(replace(experiment, verb="rollout"), display)
    rows = pd.read_parquet(result.rollouts)
    assert (result.groups, result.completions, len(rows)) == (6, 24, 24)
    assert rows["task_id"].drop_duplicates().tolist() == [f"train-{number}" for number in range(6)]
    assert rows["advantage"].notna().all()
    assert {"component_ed", "score", "baseline", "low", "high"} <= set(rows.columns)
    assert f"6 groups, 24 completions: {result.rollouts}" in display.said
    assert any(line.startswith("shapes of the groups' rewards: normal ") for line in display.said)
    assert not (experiment.run_dir / "checkpoints").exists()


def test_rollouts_repeat_for_the_same_seed_and_differ_for_another(experiment, tmp_path):
    texts = [
        pd.read_parquet(rollout(replace(experiment, run_dir=tmp_path / name, seed=seed), QuietDisplay()).rollouts)[
            "text"
        ].tolist()
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_the_supervised_stage_learns_evaluates_and_saves(experiment, tmp_path):
    supervised = replace(experiment.supervised, save_as=str(tmp_path / "half"))
    result = train(replace(experiment, learner=Supervised(), supervised=supervised), QuietDisplay())
    rows = rows_of(experiment.run_dir)
    assert rows[0]["step"] == 0
    assert "val/exact_match" in rows[0]
    assert "val/exact_match" in rows[-1]
    assert any("sft/loss" in row for row in rows)
    # bfloat16: half of the weights' bytes
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (result.checkpoint, Path(supervised.save_as))]
    assert sizes[1] / sizes[0] == pytest.approx(0.5, abs=0.05)
    load_model(replace(experiment.model, path=supervised.save_as))
    record = json.loads((experiment.run_dir / "supervised.json").read_text())
    assert record["settings"]["tokens"] == 400
    # longer, into the folder of its own and into one of somebody else's
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").touch()
    longer = replace(supervised, tokens=800)
    on = replace(experiment, learner=Supervised(), supervised=longer, resume=str(experiment.run_dir))
    with pytest.raises(UserError, match="supervised.save_as=.*theirs: holds files that this command did not write"):
        train(replace(on, supervised=replace(longer, save_as=str(tmp_path / "theirs"))), QuietDisplay())
    assert (tmp_path / "theirs" / "notes.txt").exists()
    train(on, QuietDisplay())


def test_the_supervised_stage_makes_a_model_from_nothing(experiment):
    shape = ArchitectureConfig(hidden_size=32, layers=2, heads=2, feed_forward_size=32, vocabulary=300)
    made = replace(
        experiment,
        learner=Supervised(),
        template=NanoTemplate(),
        model=replace(experiment.model, path="asset:not-there"),
        supervised=replace(experiment.supervised, architecture=shape),
    )
    result = train(made, QuietDisplay())
    loaded = load_model(replace(experiment.model, path=str(result.checkpoint)))
    assert loaded.model.config.hidden_size == 32


def test_a_supervised_run_that_broke_off_goes_on_by_itself_and_equals_one_that_did_not(experiment, tmp_path, monkeypatch):
    shape = ArchitectureConfig(hidden_size=32, layers=2, heads=2, feed_forward_size=32, vocabulary=300)
    supervised = replace(experiment.supervised, architecture=shape, checkpoint_every=2, scramble=0.5)
    broken = replace(experiment, learner=Supervised(), template=NanoTemplate(), supervised=supervised, resume="auto")
    whole = train(replace(broken, run_dir=tmp_path / "whole", resume=None), QuietDisplay())
    learn = SupervisedLearning.learn

    def breaking(learning, step, gathered):
        if step == 4:
            raise RuntimeError("the power went off")
        return learn(learning, step, gathered)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(SupervisedLearning, "learn", breaking)
        train(broken, QuietDisplay())
    display = Listening()
    result = train(broken, display)
    assert "resume=auto: from step-00002" in display.said
    ours, theirs = (one.checkpoint / "model.safetensors" for one in (result, whole))
    assert ours.read_bytes() == theirs.read_bytes()
    assert [repeatable(row) for row in rows_of(broken.run_dir)] == [repeatable(row) for row in rows_of(whole.run_dir)]
    assert (result.first, result.last) == (whole.first, whole.last)
