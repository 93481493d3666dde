"""The life of a run, of RL on a tiny model: its files, its metrics, and a resumed run that equals one that never stopped."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from parts import LengthReward, Listening, edit_task, make_experiment, run_of

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import EvaluationConfig
from gapo_cli.config.trainer import GuardsConfig, OptimizerConfig, TrainerConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import NotFiniteError, UserError
from gapo_cli.models.load import load_model, save_model
from gapo_cli.training.checkpoints.checkpoints import find_checkpoint
from gapo_cli.training.lifecycle import Life
from gapo_cli.training.objectives.kl import LowVarKL

TASKS = [edit_task(number, region=f"a = {'b' * (number % 5)}\n") for number in range(10)]
KL = AlgorithmConfig(name="grpo", terms={"kl": LowVarKL(0.01)})
DYNAMIC = AlgorithmConfig(name="dapo", dynamic_sampling=True, max_generation_rounds=50)
NOT_REPEATABLE = ("timing_s/", "time_s", "perf/")


class CountingEngine(TorchEngine):
    """Runs `then` before the call of a given number."""

    calls = 0
    at = None
    then = None

    def generate(self, *arguments, **keywords):
        self.calls += 1
        if self.calls == self.at:
            self.then()
        return super().generate(*arguments, **keywords)


@pytest.fixture(scope="module")
def start_folder(tmp_path_factory, tiny_model_folder):
    """The tiny model with an end token that is likely in some places and not in others: answers of differing lengths."""
    loaded = load_model(ModelConfig("tiny", str(tiny_model_folder), 64))
    with torch.no_grad():
        loaded.model.lm_head.weight[loaded.eos_token_id] *= 4
    folder = tmp_path_factory.mktemp("start") / "model"
    save_model(loaded, folder)
    return folder


@pytest.fixture(scope="module")
def build_loop(start_folder):
    def build(
        run_dir,
        algorithm=KL,
        checkpoint=None,
        display=None,
        reward=None,
        evaluation=None,
        tasks=TASKS[:7],
        guards=None,
        **trainer,
    ):
        settings = {"steps": 4, "prompts_per_step": 4, "prompts_per_mini_batch": 2, "checkpoint_every": 2}
        settings |= {"optimizer": OptimizerConfig(learning_rate=3e-3, warmup_steps=2), **trainer}
        experiment = make_experiment(
            run_dir,
            ModelConfig("tiny", str(start_folder), context_length=64),
            seed=5,
            engine=lambda policy: CountingEngine(policy, max_rows=16),
            reward=reward or LengthReward(),
            algorithm=algorithm,
            trainer=TrainerConfig(**settings),
            evaluation=evaluation or EvaluationConfig(samples=2, every_steps=2),
            guards=guards or GuardsConfig(),
        )
        return Life.begin(run_of(experiment, tasks, TASKS[7:], checkpoint, display or Listening()))

    return build


@pytest.fixture
def make_loop(tmp_path, build_loop):
    def make(name="run", *arguments, **keywords):
        return build_loop(tmp_path / name, *arguments, **keywords)

    return make


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, build_loop):
    """A run of four steps that nothing stopped."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    build_loop(run_dir).run()
    return run_dir


def rows_of(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def repeatable(row):
    return {name: value for name, value in row.items() if not name.startswith(NOT_REPEATABLE)}


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def assert_equal_runs(first, second, step="step-00004"):
    assert [repeatable(row) for row in rows_of(first)] == [repeatable(row) for row in rows_of(second)]
    ours, theirs = (weights_of(run / "checkpoints" / step) for run in (first, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for folder in ("rollouts", "eval"):
        names = sorted(path.name for path in (second / folder).glob("*.parquet"))
        assert sorted(path.name for path in (first / folder).glob("*.parquet")) == names
        for name in names:
            pd.testing.assert_frame_equal(pd.read_parquet(first / folder / name), pd.read_parquet(second / folder / name))


def test_a_run_writes_its_files(make_loop, tmp_path):
    outcome = make_loop().run()
    run = tmp_path / "run"
    assert not outcome.interrupted
    assert outcome.checkpoint == run / "checkpoints" / "step-00004"
    assert sorted(path.name for path in (run / "rollouts").iterdir()) == [f"step-0000{step}.parquet" for step in (1, 2, 3, 4)]
    assert sorted(path.name for path in (run / "eval").glob("*.json")) == [f"step-0000{step}.json" for step in (0, 2, 4)]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "step-00002", "step-00004"]
    evaluation = json.loads((run / "eval" / "step-00004.json").read_text())
    assert set(evaluation["baselines"]) == {"copy", "replace"}
    assert evaluation["greedy"]["overall"]["tasks"] == 3
    # 3 tasks, one greedy and two sampled answers each
    assert len(pd.read_parquet(run / "eval" / "step-00004.parquet")) == 9
    rollouts = pd.read_parquet(run / "rollouts" / "step-00001.parquet")
    assert len(rollouts) == 16
    assert rollouts["prompt"][0].endswith("\n>")
    assert load_model(ModelConfig("again", str(outcome.best), 64)).tokenizer.eos_token == "<eos>"


def test_rows_of_metrics_have_the_names_that_reports_read(make_loop, tmp_path):
    display = Listening()
    make_loop(display=display).run()
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert display.rows == rows
    assert {name.split("/")[0] for name in rows[0]} == {"step", "time_s", "val", "timing_s"}
    names = """actor/pg_clipfrac actor/pg_clipfrac_lower actor/ppo_kl actor/kl_loss actor/entropy actor/grad_norm actor/lr
    critic/score/mean critic/score/max critic/score/min critic/advantages/mean critic/advantages/max critic/advantages/min
    response_length/mean response_length/max response_length/min response_length/clip_ratio
    training/rollout_probs_diff_mean training/rollout_probs_diff_max training/rollout_probs_diff_std
    training/rollout_logprobs_diff_mean training/rollout_logprobs_diff_max
    timing_s/gen timing_s/reward timing_s/adv timing_s/update_actor timing_s/step perf/throughput
    group/zero_std_frac group/normal_frac group/left_frac group/right_frac group/symmetric_frac group/negative_adv_frac
    group/q_minus_mean group/hdi_width reward/missing"""
    for row in rows[1:]:
        assert set(names.split()) <= row.keys()
        assert all(isinstance(value, (int, float)) for value in row.values())
    validation = {"val/exact_match", "val/edit_similarity", "val/noop_rate", "val/malformed_rate", "val/sampled/exact_match"}
    for row in rows:
        assert (validation <= row.keys()) == (row["step"] in (0, 2, 4))
        assert ("timing_s/testing" in row) == (row["step"] in (0, 2, 4))
    assert [row["time_s"] for row in rows] == sorted(row["time_s"] for row in rows)


@pytest.mark.slow
def test_the_reward_rises_with_training(make_loop, tmp_path):
    # LengthReward pays for long answers that end in time; larger steps than these let rounding decide what is learnt
    optimizer = OptimizerConfig(learning_rate=1e-3, warmup_steps=2)
    plain = replace(KL, terms={})
    make_loop(steps=40, algorithm=plain, optimizer=optimizer, checkpoint_every=40, evaluation=EvaluationConfig()).run()
    scores = [row["critic/score/mean"] for row in rows_of(tmp_path / "run")[1:]]
    assert np.mean(scores[-10:]) > 1.3 * np.mean(scores[:10])  # 0.168 before, 0.253 at the end


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(make_loop, tmp_path, whole_run):
    make_loop("halves", steps=2).run()
    checkpoint = find_checkpoint(tmp_path / "halves")
    assert checkpoint.name == "step-00002"
    make_loop("halves", checkpoint=checkpoint).run()
    assert_equal_runs(tmp_path / "halves", whole_run)


@pytest.mark.slow
def test_with_dynamic_sampling_a_resumed_run_goes_on_with_the_surplus(make_loop, tmp_path):
    make_loop("whole", DYNAMIC).run()
    make_loop("halves", DYNAMIC, steps=2).run()
    assert rows_of(tmp_path / "halves")[2]["group/waiting"] > 0
    make_loop("halves", DYNAMIC, checkpoint=find_checkpoint(tmp_path / "halves")).run()
    assert_equal_runs(tmp_path / "halves", tmp_path / "whole")


def test_two_runs_of_one_seed_are_equal(make_loop, tmp_path, whole_run):
    make_loop("second").run()
    assert_equal_runs(tmp_path / "second", whole_run)


def test_what_came_after_the_checkpoint_is_taken_back(make_loop, tmp_path, whole_run):
    make_loop("again").run()
    run = tmp_path / "again"
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "torn')
    display = Listening()
    make_loop("again", checkpoint=run / "checkpoints" / "step-00002", display=display).run()
    assert any("removed the later" in line and "step-00004" in line for line in display.said)
    assert_equal_runs(run, whole_run)


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("call", "step"),
    # calls of the engine: 2 at step 0 (greedy, sampled), 1 for step 1, 1 for step 2, 2 for its evaluation, 1 for step 3
    [(4, 1), (5, 2), (6, 2), (7, 2)],
    ids=["generating step 2", "greedy evaluation of step 2", "sampled evaluation of step 2", "generating step 3"],
)
def test_ctrl_c_leaves_a_checkpoint_of_the_last_whole_step(make_loop, tmp_path, whole_run, call, step):
    display = Listening()
    loop = make_loop("stopped", display=display)
    loop.learning.engine.at, loop.learning.engine.then = call, interrupt
    outcome = loop.run()
    assert outcome.interrupted
    assert outcome.step == step
    assert outcome.checkpoint.name == f"step-0000{step}"
    assert f"stopped after step {step} of 4" in display.said[-1]
    assert [row["step"] for row in rows_of(tmp_path / "stopped")] == list(range(step + 1))
    make_loop("stopped", checkpoint=outcome.checkpoint).run()
    assert_equal_runs(tmp_path / "stopped", whole_run)


def test_ctrl_c_during_the_update_waits_for_its_end(make_loop, tmp_path, whole_run, monkeypatch):
    loop = make_loop("stopped")
    step = loop.learning.optimizer.step

    def pressing(*finite):
        if loop.learning.optimizer.updates == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*finite)

    monkeypatch.setattr(loop.learning.optimizer, "step", pressing)
    outcome = loop.run()
    # the third optimizer step is the first of step 2
    assert (outcome.interrupted, outcome.step) == (True, 2)
    make_loop("stopped", checkpoint=outcome.checkpoint).run()
    assert_equal_runs(tmp_path / "stopped", whole_run)


def test_a_second_ctrl_c_gives_up_the_half_made_step(make_loop, tmp_path, monkeypatch):
    display = Listening()
    loop = make_loop(display=display)
    step = loop.learning.optimizer.step

    def pressing(*finite):
        if loop.learning.optimizer.updates == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return step(*finite)

    monkeypatch.setattr(loop.learning.optimizer, "step", pressing)
    outcome = loop.run()
    assert outcome.interrupted
    assert "in the middle of step 3" in display.said[-1]
    # nothing half-learnt is written
    assert outcome.checkpoint.name == "step-00002"
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [0, 1, 2]


def test_ctrl_c_before_the_first_step_leaves_nothing_to_resume(make_loop):
    display = Listening()
    loop = make_loop(display=display)
    loop.learning.engine.at, loop.learning.engine.then = 3, interrupt
    outcome = loop.run()
    assert outcome.checkpoint is None
    assert "nothing to resume" in display.said[-1]


def test_a_batch_that_cannot_be_filled_keeps_what_was_learnt_so_far(make_loop, tmp_path):
    class Fading(LengthReward):
        calls = 0

        def __call__(self, predictions, tasks):
            self.calls += 1
            found = super().__call__(predictions, tasks)
            return found if self.calls < 2 else {**found, "score": np.ones(len(predictions))}

    display = Listening()
    loop = make_loop(algorithm=replace(DYNAMIC, max_generation_rounds=1), reward=Fading(), display=display, prompts_per_step=2)
    with pytest.raises(UserError, match="max_generation_rounds"):
        loop.run()
    assert "stopped after step 1 of 4" in display.said[-1]
    assert find_checkpoint(tmp_path / "run").name == "step-00001"


def test_a_missing_reward_is_counted_and_does_not_end_the_run(make_loop, tmp_path):
    class Holed(LengthReward):
        def __call__(self, predictions, tasks):
            found = super().__call__(predictions, tasks)
            found["score"][::5] = np.nan
            return found

    make_loop(reward=Holed(), steps=1, evaluation=EvaluationConfig()).run()
    row = rows_of(tmp_path / "run")[1]
    # every fifth of 16: the 1st, 6th, 11th and 16th
    assert row["reward/missing"] == 4
    assert np.isfinite(row["critic/score/mean"])
    assert np.isfinite(row["actor/grad_norm"])
    rollouts = pd.read_parquet(tmp_path / "run" / "rollouts" / "step-00001.parquet")
    assert rollouts["score"].isna().sum() == 4
    assert (rollouts["advantage"][rollouts["score"].isna()] == 0).all()


def test_the_best_model_is_the_one_of_the_best_evaluation(make_loop, tmp_path, monkeypatch):
    loop = make_loop(evaluation=EvaluationConfig(every_steps=1))
    values = iter([0.25, 0.5, 0.75, 0.75, 0.5])
    monkeypatch.setattr(
        loop.learning.held_out, "evaluate", lambda *_: {"val/exact_match": next(values), "val/sampled/exact_match": 1.0}
    )
    loop.run()
    record = json.loads((tmp_path / "run" / "checkpoints" / "best" / "best.json").read_text())
    assert record == {"step": 2, "metric": "val/exact_match", "value": 0.75}
    best, second = (weights_of(tmp_path / "run" / "checkpoints" / name) for name in ("best", "step-00002"))
    assert all(torch.equal(best[name], second[name]) for name in second)


def test_without_greedy_answers_the_sampled_ones_choose_the_best(make_loop, tmp_path):
    make_loop(evaluation=EvaluationConfig(greedy=False, samples=2)).run()
    record = json.loads((tmp_path / "run" / "checkpoints" / "best" / "best.json").read_text())
    assert record["metric"] == "val/sampled/exact_match"


def test_every_steps_zero_evaluates_before_and_after_only(make_loop, tmp_path):
    make_loop(evaluation=EvaluationConfig(every_steps=0), steps=3).run()
    assert [row["step"] for row in rows_of(tmp_path / "run") if "val/exact_match" in row] == [0, 3]


def test_a_finished_run_is_not_resumed_without_more_steps(make_loop):
    outcome = make_loop().run()
    with pytest.raises(UserError, match=r"all trainer.steps=4 steps are done; give more"):
        make_loop(checkpoint=outcome.checkpoint)


def test_a_run_on_other_tasks_cannot_be_resumed(make_loop):
    outcome = make_loop(steps=2).run()
    with pytest.raises(UserError, match="other tasks"):
        make_loop(checkpoint=outcome.checkpoint, tasks=TASKS[1:8])


def test_dropped_groups_are_kept_on_disk_and_marked(make_loop, tmp_path):
    class Flat(LengthReward):
        """The first group of every four is worth the same whatever it says."""

        def __call__(self, predictions, tasks):
            found = super().__call__(predictions, tasks)
            found["score"] = np.where(np.arange(len(predictions)) % 16 < 4, 1.0, np.arange(len(predictions)) / 64)
            return found

    make_loop(algorithm=DYNAMIC, reward=Flat(), steps=2, evaluation=EvaluationConfig()).run()
    rows = rows_of(tmp_path / "run")
    # 3 of 4 groups have spread: step 1 takes two rounds and has 2 over, step 2 one round
    assert [row["group/rounds"] for row in rows[1:]] == [2, 1]
    assert [row["group/waiting"] for row in rows[1:]] == [2, 1]
    assert rows[1]["group/zero_std_frac"] == 0.25
    first = pd.read_parquet(tmp_path / "run" / "rollouts" / "step-00001.parquet")
    assert first.groupby("group")["dropped"].first().tolist() == [False] * 4 + [True] * 2
    assert (first["advantage"][first["dropped"]] == 0).all()


class UnsyncedEngine(TorchEngine):
    """Samples from a copy of the starting weights, whatever is synced; notes when it is told to sleep."""

    def __init__(self, policy):
        super().__init__(load_model(policy.config), max_rows=16)
        self.calls = []

    def generate(self, *arguments, **keywords):
        self.calls.append("generate")
        return super().generate(*arguments, **keywords)

    def sync(self, policy):
        self.calls.append("sync")

    def sleep(self):
        self.calls.append("sleep")


def test_an_engine_whose_sync_does_nothing_stops_the_run_at_the_next_step(make_loop, tmp_path):
    display = Listening()
    loop = make_loop(display=display, evaluation=EvaluationConfig(greedy=False, samples=1))
    engine = UnsyncedEngine(loop.learning.policy)
    loop.learning.engine = loop.learning.collector.engine = engine
    with pytest.raises(UserError, match="the engine does not sample from the trainer's weights"):
        loop.run()
    # the first step was sampled from the right weights; of the second nothing is learnt, and it is not asked to sleep for it
    assert engine.calls == ["generate", "generate", "sleep", "sync", "generate"]
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [0, 1]
    assert display.said[-1].startswith("stopped after step 1 of 4: saved")


def test_steps_without_a_finite_loss_are_skipped_counted_and_in_the_end_stop_the_run(make_loop, tmp_path, monkeypatch):
    # of the 8 optimizer steps of 4 training steps the third, and the sixth to the eighth, have a loss that is not finite
    loop = make_loop(guards=GuardsConfig(skipped_in_a_row=3))
    accumulate, called = loop.learning.updater.accumulate, []

    def breaking(mini_batch, metrics):
        accumulate(mini_batch, metrics)
        called.append(len(called) + 1)
        if called[-1] in (3, 6, 7, 8):
            metrics.sums["loss"] = metrics.sums["loss"] * float("nan")

    monkeypatch.setattr(loop.learning.updater, "accumulate", breaking)
    with pytest.raises(UserError) as raised:
        loop.run()
    path = tmp_path / "run" / "stopped" / "step-00004.parquet"
    assert "guards.skipped_in_a_row=3: the loss or its gradient was not finite in 3 optimizer steps in a row" in str(
        raised.value
    )
    assert f"the last in step 4; the batch of that one is in {path}" in str(raised.value)
    assert pd.read_parquet(path)["group"].nunique() == 2  # the last mini-batch
    rows = rows_of(tmp_path / "run")
    assert [row["actor/skipped_steps"] for row in rows[1:]] == [0, 1, 1]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert find_checkpoint(tmp_path / "run").name == "step-00002"


@pytest.mark.parametrize(
    # checkpoints are due after steps 2 and 4: the one of a step that has diverged is refused, no evaluation having looked at it
    ("last", "there_is"),
    [(2, "there is no checkpoint yet"), (3, "the last checkpoint is {}/run/checkpoints/step-00002")],
)
def test_a_model_whose_outputs_are_no_numbers_any_more_stops_the_run_and_is_not_saved(make_loop, tmp_path, last, there_is):
    display = Listening()
    loop = make_loop(display=display, evaluation=EvaluationConfig(every_steps=0))
    learn = loop.learning.updater.update

    def diverging(groups, fresh):
        row = learn(groups, fresh)
        if loop.step + 1 == last:
            with torch.no_grad():
                loop.learning.policy.model.lm_head.weight[7] = float("inf")
        return row

    loop.learning.updater.update = diverging
    with pytest.raises(NotFiniteError, match="the model's outputs are not finite: an update has made its weights diverge"):
        loop.run()
    assert display.said[-1] == f"stopped after step {last} of 4: {there_is.format(tmp_path)}"
    assert [row["step"] for row in rows_of(tmp_path / "run")] == list(range(last + 1))


def test_a_step_whose_every_mini_batch_is_skipped_changes_no_weight(make_loop, tmp_path):
    loop = make_loop(steps=1, evaluation=EvaluationConfig())
    loop.learning.updater.accumulate = lambda mini_batch, metrics: metrics.sums.update(loss=torch.tensor(float("inf")))
    before = [parameter.clone() for parameter in loop.learning.policy.model.parameters()]
    loop.run()
    assert all(torch.equal(*pair) for pair in zip(before, loop.learning.policy.model.parameters(), strict=True))
    row = rows_of(tmp_path / "run")[1]
    assert row["actor/skipped_steps"] == 2
    assert "actor/pg_loss" not in row


def test_a_collapse_is_said_as_it_happens(make_loop):
    class Same(LengthReward):
        def __call__(self, predictions, tasks):
            return {"score": np.ones(len(predictions))}

    display = Listening()
    make_loop(display=display, reward=Same(), steps=3, guards=GuardsConfig(steps_in_a_row=2)).run()
    (warning,) = [line for line in display.said if line.startswith("warning")]
    assert "at step 2: for 2 steps at least 100% of the groups have had answers that all earn the same" in warning
