import json
import os
import random
import signal
from collections import Counter
from dataclasses import replace

import pytest
import torch
from training_parts import PlainTemplate

from gapo_cli.config import EditLogConfig, OptimizerConfig, SupervisedConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.models.load import load_model
from gapo_cli.records import EditTask, Source
from gapo_cli.training.checkpoints import load_state, newest_whole
from gapo_cli.training.edit_log import logged_outcome
from gapo_cli.training.run_files import repeatable
from gapo_cli.training.supervised import Example, Scrambler, answer_loss, encode_examples, plan_batches
from gapo_cli.training.supervised_loop import SupervisedLoop

CONFIG = SupervisedConfig(
    tokens=3000, tokens_per_batch=256, optimizer=OptimizerConfig(learning_rate=3e-3, weight_decay=0.0, warmup_steps=2)
)


def task(number: int, region: str = "x = a\n", target: str = "x = b\n", after: str = "y\nz\n") -> EditTask:
    return EditTask(
        id=f"task-{number}", source=Source("made", "train"), language="python", path="m.py", excerpt=region + after,
        editable=(0, len(region)), target=target,
    )  # fmt: skip


def test_a_log_of_finished_edits_holds_the_targets():
    assert {logged_outcome(task(n), EditLogConfig(), seed=0) for n in range(50)} == {"x = b\n"}


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (EditLogConfig(finished=0, undone=1, runs_on=0, cut_short=0), "x = a\n"),
        (EditLogConfig(finished=0, undone=0, runs_on=1, cut_short=0), "x = b\ny\n"),
        (EditLogConfig(finished=0, undone=0, runs_on=0, cut_short=1), "x ="),  # 2 of the 3 words
    ],
)
def test_each_kind_of_unfinished_edit_is_as_described(log, expected):
    assert logged_outcome(task(0), log, seed=0) == expected


def test_an_edit_at_the_end_of_the_excerpt_runs_on_by_repeating_its_first_line():
    log = EditLogConfig(finished=0, undone=0, runs_on=1, cut_short=0)
    assert logged_outcome(task(0, after=""), log, seed=0) == "x = b\nx = b\n"


def test_the_shares_of_the_log_are_those_asked_for_and_fixed_by_the_seed():
    log = EditLogConfig(finished=0.4, undone=0.6, runs_on=0.2, cut_short=0.2)
    counts = Counter(logged_outcome(task(n), log, seed=0) for n in range(4000))
    # standard errors of these shares over 4,000 draws are below 0.008
    assert counts["x = b\n"] / 4000 == pytest.approx(0.4, abs=0.04)
    assert counts["x = a\n"] / 4000 == pytest.approx(0.36, abs=0.04)
    assert counts["x = b\ny\n"] / 4000 == pytest.approx(0.12, abs=0.03)
    assert counts["x ="] / 4000 == pytest.approx(0.12, abs=0.03)
    assert counts == Counter(logged_outcome(task(n), log, seed=0) for n in range(4000))
    assert counts != Counter(logged_outcome(task(n), log, seed=1) for n in range(4000))


def test_scrambling_renames_words_alike_in_prompt_and_answer_and_nothing_else():
    scramble = Scrambler(words=[10, 11, 12, 13, 14], probability=1.0, generator=random.Random(0))
    example = Example(prompt=(1, 10, 2, 11, 10), answer=(10, 3, 11))
    for _ in range(50):
        found = scramble(example)
        first, second = found.prompt[1], found.prompt[3]
        assert found == Example((1, first, 2, second, first), (first, 3, second))
        assert first != second and {first, second} <= {10, 11, 12, 13, 14}


def test_scrambling_happens_with_its_probability():
    scramble = Scrambler(words=list(range(100, 2000)), probability=0.75, generator=random.Random(0))
    example = Example(prompt=(100, 101, 102), answer=(100,))
    changed = sum(scramble(example) != example for _ in range(2000))
    assert changed / 2000 == pytest.approx(0.75, abs=0.05)  # 5 standard errors
    never = Scrambler(words=list(range(100, 2000)), probability=0.0, generator=random.Random(0))
    assert all(never(example) == example for _ in range(100))


def test_every_task_is_in_each_epoch_once_and_batches_keep_to_the_budget():
    lengths = [random.Random(n).randint(5, 60) for n in range(300)]
    total = sum(lengths)
    plan = plan_batches(lengths, replace(CONFIG, tokens=2 * total), random.Random(0))
    assert Counter(index for batch in plan for index in batch) == dict.fromkeys(range(300), 2)
    assert all(len(batch) * max(lengths[index] for index in batch) <= 256 for batch in plan)


def test_training_stops_with_the_batch_that_reaches_the_tokens():
    plan = plan_batches([10] * 100, replace(CONFIG, tokens=101, tokens_per_batch=20), random.Random(0))
    assert len(plan) == 6  # batches of 2 tasks, 20 tokens: the sixth passes 101


def test_a_task_longer_than_the_budget_is_a_batch_of_its_own():
    plan = plan_batches([10, 500, 10], replace(CONFIG, tokens=520), random.Random(0))
    assert [1] in plan


def test_the_loss_is_the_mean_over_answer_tokens_only(tiny_policy):
    rows = [Example((10, 11, 12), (13, 1)), Example((20,), (21, 22, 1))]
    expected, count = 0.0, 0
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([row.prompt + row.answer])
            logprobs = tiny_policy.model(input_ids=ids).logits[0].log_softmax(-1)
            for position in range(len(row.prompt), len(row)):
                expected -= float(logprobs[position - 1, ids[0, position]])
                count += 1
        assert float(answer_loss(tiny_policy, rows)) == pytest.approx(expected / count, rel=1e-5)


def test_an_answer_is_the_logged_outcome_with_the_end_token(tiny_policy):
    (example,) = encode_examples(tiny_policy, PlainTemplate(), [task(0)], CONFIG, seed=0)
    assert example.answer[-1] == tiny_policy.eos_token_id
    assert tiny_policy.tokenizer.decode(example.answer[:-1]) == PlainTemplate().answer(task(0), "x = b\n")


TASKS = [task(n, target=f"x = {'bcd'[n % 3]}\n") for n in range(12)]


@pytest.fixture
def make_loop(tmp_path, tiny_config):
    def make(name="run", seed=0, checkpoint=None, display=None, **config):
        path = tiny_config.path if checkpoint is None else str(checkpoint)
        policy = load_model(replace(tiny_config, path=path))
        settings = replace(CONFIG, **{"scramble": 0.5, "checkpoint_every": 4} | config)
        run_dir = tmp_path / name
        run_dir.mkdir(exist_ok=True)
        loop = SupervisedLoop(run_dir, policy, TASKS, PlainTemplate(), settings, seed, display or QuietDisplay(), log_every=3)
        if checkpoint is not None:
            loop.resume_from(checkpoint)
        return loop

    return make


def weights_of(loop):
    return torch.cat([weight.detach().flatten() for weight in loop.policy.model.parameters()])


def rows_of(loop):
    return [repeatable(json.loads(line)) for line in loop.files.metrics.read_text().splitlines()]


def test_training_lowers_the_loss_and_the_same_seed_gives_the_same_weights(make_loop):
    loops = [make_loop(name, seed, scramble=0.0) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    results = [loop.run() for loop in loops]
    assert results[0].last_loss < 0.5 * results[0].first_loss
    assert results[0].tokens >= CONFIG.tokens
    weights = [weights_of(loop) for loop in loops]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_resumed_run_equals_one_that_never_stopped(make_loop):
    whole = make_loop("whole")
    result = whole.run()
    assert result.steps > 8
    broken = make_loop("broken")
    step = broken.optimizer.step

    def breaking(*finite):
        if broken.optimizer.updates == 6:
            raise RuntimeError("the power went off")
        return step(*finite)

    broken.optimizer.step = breaking
    with pytest.raises(RuntimeError):
        broken.run()
    checkpoint = newest_whole(broken.files.run_dir).checkpoint
    assert checkpoint.name == "step-00004"
    # batches 4 to 6 were logged and are taken back
    assert [row["step"] for row in rows_of(broken)] == [3, 6]
    resumed = make_loop("broken", checkpoint=checkpoint)
    assert [row["step"] for row in rows_of(resumed)] == [3]
    again = resumed.run()
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert rows_of(resumed) == rows_of(whole)
    assert (again.steps, again.tokens, again.first_loss, again.last_loss) == (result.steps, result.tokens, result.first_loss, result.last_loss)


def test_ctrl_c_leaves_a_checkpoint_of_the_last_whole_batch(make_loop):
    said = []
    display = QuietDisplay()
    display.say = said.append
    loop = make_loop(display=display)
    step = loop.optimizer.step

    def pressing(*finite):
        if loop.optimizer.updates == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*finite)

    loop.optimizer.step = pressing
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert "stopped after batch 2 of" in said[-1]
    resumed = make_loop(checkpoint=loop.checkpoints.path(2))
    resumed.run()
    whole = make_loop("whole")
    whole.run()
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_another_seed_or_stage_cannot_be_resumed(make_loop):
    loop = make_loop(tokens=600)
    loop.run()
    checkpoint = newest_whole(loop.files.run_dir).checkpoint
    with pytest.raises(CheckpointError, match="trained with seed=0, this run has seed=1; give that seed"):
        make_loop("other", seed=1, checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match="is of stage=sft, and this run is stage=rl; give stage=sft, or start from its model"):
        load_state(checkpoint, "rl")


def test_a_task_that_does_not_fit_the_context_is_named(tiny_policy):
    with pytest.raises(UserError, match=r"task task-7: prompt and answer take \d+ tokens, and model.context_length is 256"):
        encode_examples(tiny_policy, PlainTemplate(), [task(7, region="x" * 300)], CONFIG, seed=0)


def test_an_empty_split_is_refused(tmp_path, tiny_policy):
    with pytest.raises(UserError, match="needs at least one task"):
        SupervisedLoop(tmp_path, tiny_policy, [], PlainTemplate(), CONFIG, 0, QuietDisplay())


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.5, -0.25, -0.25)])
def test_shares_of_the_log_that_do_not_add_up_are_refused(shares):
    with pytest.raises(UserError, match="three shares that add up to 1"):
        EditLogConfig(0.5, *shares)
