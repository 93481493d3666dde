import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from parts import OPTIMIZER, Listening, make_experiment, run_of, small_task

from gapo_cli.config.model import LoraConfig
from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.config.sampling import EvaluationConfig
from gapo_cli.config.trainer import GuardsConfig, TrainerConfig
from gapo_cli.errors import CheckpointError, DataError, UserError
from gapo_cli.runs.run_files import repeatable
from gapo_cli.training.checkpoints.checkpoints import newest_whole
from gapo_cli.training.learners.preference import Preference
from gapo_cli.training.lifecycle import Life

CONFIG = PreferenceConfig(pairs_per_batch=3, epochs=2, optimizer=replace(OPTIMIZER, learning_rate=3e-3))
TASKS = [small_task(f"task-{n}", region=f"a{n}\n", target="b" * (n % 3 + 1), rejected=(f"c{n}", "d" * n)) for n in range(1, 5)]


@pytest.fixture
def make_loop(tmp_path, tiny_config):
    def make(
        name="run", checkpoint=None, display=None, lora=None, tasks=TASKS, guards=None, seed=0, layout="packed", budget=0, **dpo
    ):
        trainer = TrainerConfig(2, 4, 2, OPTIMIZER, checkpoint_every=2, layout=layout, max_tokens_per_microbatch=budget)
        experiment = make_experiment(
            tmp_path / name,
            replace(tiny_config, lora=lora or LoraConfig()),
            learner=Preference(),
            seed=seed,
            dpo=replace(CONFIG, **dpo),
            trainer=trainer,
            evaluation=EvaluationConfig(samples=0, every_steps=2),
            guards=guards or GuardsConfig(),
        )
        torch.manual_seed(seed)  # as the stage does: new adapters are drawn
        return Life.begin(run_of(experiment, tasks, [small_task("held-out")], checkpoint, display or Listening()))

    return make


def weights_of(loop):
    return torch.cat([parameter.detach().flatten() for parameter in loop.learning.policy.model.parameters()])


def gradient_of(loop):
    return torch.cat([parameter.grad.flatten() for parameter in loop.learning.optimizer.parameters])


def rows_of(loop):
    return [repeatable(json.loads(line)) for line in loop.files.metrics.read_text().splitlines()]


def moved(loop):
    """A loop whose policy differs from its reference."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in loop.learning.optimizer.parameters:
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return loop


@pytest.mark.slow
def test_training_tells_the_pairs_apart(make_loop):
    loop = make_loop(epochs=8)
    outcome = loop.run()
    rows = [row for row in rows_of(loop) if "dpo/loss" in row]
    assert outcome.step == len(rows) == 8 * 3  # 8 pairs, 3 a batch
    assert rows[0]["dpo/loss"] == pytest.approx(math.log(2))
    assert (rows[0]["dpo/margin"], rows[0]["dpo/accuracy"]) == (0, 0)
    assert sum(row["dpo/loss"] for row in rows[-3:]) / 3 < 0.9 * math.log(2)
    assert rows[-1]["dpo/accuracy"] == 1 and rows[-1]["dpo/margin"] > 0
    assert rows[-1]["dpo/pairs"] == 64
    assert all(row["dpo/chosen_logprobs"] < 0 and row["dpo/rejected_logprobs"] < 0 for row in rows)


@pytest.mark.parametrize("rank", [0, 2])
def test_loss_and_gradient_are_the_same_packed_or_padded_and_however_they_are_cut(make_loop, rank):
    if rank:
        pytest.importorskip("peft", reason="the extra lora is not installed")
    found = {}
    settings = {"per_token": True, "label_smoothing": 0.1, "supervised_weight": 0.5}
    for layout, budget in [("padded", 0), ("packed", 0), ("masked", 0), ("packed", 30), ("padded", 30)]:
        loop = moved(make_loop(f"{layout}-{budget}", lora=LoraConfig(rank=rank), layout=layout, budget=budget, **settings))
        sums = loop.learning.accumulate(loop.learning.pairs)
        found[layout, budget] = (sums, gradient_of(loop))
    (expected, gradient), *others = found.values()
    assert abs(expected.values["dpo/margin"]) > 1e-3
    for sums, ours in others:
        assert sums.loss == pytest.approx(expected.loss, rel=1e-5)
        assert sums.values == pytest.approx(expected.values, rel=1e-4, abs=1e-5)
        torch.testing.assert_close(ours, gradient, rtol=1e-4, atol=1e-6)


def test_the_supervised_term_is_the_cross_entropy_of_the_better_answers(make_loop):
    plain, weighted = moved(make_loop("plain")), moved(make_loop("weighted", supervised_weight=0.25))
    pairs = plain.learning.pairs
    without, with_term = (loop.learning.accumulate(pairs) for loop in (plain, weighted))
    tokens = sum(len(pair.chosen) for pair in pairs)
    cross_entropy = -without.values["dpo/chosen_logprobs"] / tokens
    assert with_term.loss - without.loss == pytest.approx(0.25 * cross_entropy, rel=1e-5)


def test_adapters_are_compared_with_the_model_without_them(make_loop):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    loop = make_loop(lora=LoraConfig(rank=2))
    assert loop.learning.reference.model is loop.learning.policy.model  # no second copy
    loop.run()
    rows = [row for row in rows_of(loop) if "dpo/loss" in row]
    assert (rows[0]["dpo/margin"], rows[-1]["dpo/accuracy"]) == (0, 1)


class PowerCut(Exception):
    pass


def run_until_power_goes_off(loop, steps):
    learn = loop.learning.learn

    def failing(step, gathered):
        if step > steps:
            raise PowerCut
        return learn(step, gathered)

    loop.learning.learn = failing
    with pytest.raises(PowerCut):
        loop.run()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_a_resumed_run_equals_one_that_never_stopped(make_loop, rank):
    if rank:
        pytest.importorskip("peft", reason="the extra lora is not installed")
    lora = LoraConfig(rank=rank)
    whole, broken = make_loop("whole", lora=lora), make_loop("broken", lora=lora)
    whole.run()
    run_until_power_goes_off(broken, steps=3)
    checkpoint = newest_whole(broken.files.run_dir).checkpoint
    assert checkpoint.name == "step-00002"
    resumed = make_loop("broken", checkpoint=checkpoint, lora=lora)
    resumed.run()
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert rows_of(resumed) == rows_of(whole)
    assert resumed.best == whole.best


def test_ctrl_c_leaves_a_checkpoint_of_the_last_whole_batch(make_loop):
    display = Listening()
    loop = make_loop(display=display)
    step = loop.learning.optimizer.step

    def pressing(*finite):
        if loop.learning.optimizer.updates == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*finite)

    loop.learning.optimizer.step = pressing
    assert loop.run().interrupted
    assert "stopped after batch 3 of 6" in display.said[-1]
    resumed, whole = make_loop(checkpoint=loop.checkpoints.path(3)), make_loop("whole")
    resumed.run()
    whole.run()
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_a_run_of_other_pairs_is_not_resumed_and_a_longer_one_is(make_loop):
    loop = make_loop()
    loop.run()
    checkpoint = newest_whole(loop.files.run_dir).checkpoint
    with pytest.raises(CheckpointError, match="all 6 batches of dpo.epochs=2 and dpo.steps=null are done; give more"):
        make_loop("done", checkpoint=checkpoint)
    others = [replace(task, rejected=("z", "y")) for task in TASKS]
    with pytest.raises(CheckpointError, match="was trained on other pairs; give the dpo and prompt settings"):
        make_loop("others", checkpoint=loop.checkpoints.path(4), tasks=others)
    assert make_loop(checkpoint=checkpoint, epochs=3).run().step == 9


def test_a_loss_that_is_never_finite_ends_the_run_and_keeps_the_batch(make_loop):
    import pandas as pd

    loop = make_loop(guards=GuardsConfig(skipped_in_a_row=2))
    with torch.no_grad():
        loop.learning.policy.model.lm_head.weight.fill_(float("nan"))
    loop.learning.held_out = None
    with pytest.raises(UserError, match="not finite in 2 optimizer steps in a row"):
        loop.run()
    batch = pd.read_parquet(next((loop.files.run_dir / "stopped").iterdir()))
    assert len(batch) == 2 * CONFIG.pairs_per_batch
    assert list(batch["task_id"][:2]) == [batch["task_id"][0]] * 2


def test_tasks_without_rejected_texts_are_refused(make_loop):
    with pytest.raises(DataError, match="none of the 1 training tasks has a rejected text"):
        make_loop(tasks=[small_task()])


def test_held_out_tasks_among_the_pairs_are_warned_about(make_loop):
    display = Listening()
    make_loop(display=display, tasks=[small_task("held-out", rejected=("x",)), *TASKS])
    assert "9 pairs of 5 tasks" in display.said
    assert any("warning: 1 of these tasks are also held out" in line for line in display.said)
