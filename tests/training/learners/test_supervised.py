import json
import os
import random
import signal
from collections import Counter
from dataclasses import replace

import pytest
import torch
from parts import Listening, PlainTemplate, make_experiment, run_of, small_task

from gapo_cli.config.model import LoraConfig
from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.config.supervised import EditLogConfig, SupervisedConfig
from gapo_cli.config.trainer import GuardsConfig, OptimizerConfig, TrainerConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import CheckpointError, DataError, UserError
from gapo_cli.models.policy import load_policy
from gapo_cli.records import EditTask
from gapo_cli.runs.run_files import repeatable
from gapo_cli.training.batches.edit_log import logged_outcome
from gapo_cli.training.batches.example_batches import micro_batches, plan_batches
from gapo_cli.training.batches.examples import Example, Scrambler, encode_examples
from gapo_cli.training.checkpoints.checkpoints import load_state, newest_whole
from gapo_cli.training.held_out import HeldOut
from gapo_cli.training.learners.supervised import Supervised, SupervisedLearning
from gapo_cli.training.lifecycle import Life
from gapo_cli.training.out_of_memory import no_advice

CONFIG = SupervisedConfig(
    tokens=3000,
    tokens_per_batch=256,
    log_every=3,
    checkpoint_every=4,
    optimizer=OptimizerConfig(learning_rate=3e-3, weight_decay=0.0, warmup_steps=2),
)


def task(number: int, region: str = "x = a\n", target: str = "x = b\n", after: str = "y\nz\n") -> EditTask:
    return small_task(f"task-{number}", region, target, after=after)


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


def test_epochs_end_the_training_where_they_come_first():
    lengths = [10] * 7
    for layout in ("padded", "packed"):
        config = replace(CONFIG, layout=layout, tokens=10_000, tokens_per_batch=30)
        plan = plan_batches(lengths, replace(config, epochs=2), random.Random(0))
        assert Counter(index for batch in plan for index in batch) == dict.fromkeys(range(7), 2)
        # half an epoch is 35 tokens: four of the tasks, or the batch that reaches them
        half = plan_batches(lengths, replace(config, epochs=0.5, tokens=None), random.Random(0))
        assert sum(map(len, half)) >= 4 > sum(map(len, half[:-1]))


def test_a_packed_batch_is_filled_across_epochs_and_holds_no_example_twice():
    lengths = [random.Random(n).randint(5, 60) for n in range(50)]
    config = replace(CONFIG, layout="packed", tokens=None, epochs=3, tokens_per_batch=200)
    plan = plan_batches(lengths, config, random.Random(0))
    assert all(len(set(batch)) == len(batch) for batch in plan)
    sizes = [sum(lengths[index] for index in batch) for batch in plan]
    assert max(sizes) <= 200
    assert min(sizes[:-1]) > 140  # the next one, of at most 60, did not fit
    few = plan_batches([10] * 3, config, random.Random(0))
    assert [sorted(batch) for batch in few] == [[0, 1, 2]] * 3  # 200 tokens would hold them six times


def test_micro_batches_keep_to_the_budget_of_tokens():
    examples = [Example((1,) * random.Random(n).randint(1, 40), (2, 3)) for n in range(30)]
    for layout in ("packed", "padded"):
        for budget in (0, 50, 90):
            batches = micro_batches(examples, layout, budget, pad_id=0)
            assert sum(len(batch.labels) for batch in batches) == 60
            assert (len(batches) == 1) == (budget == 0)
            assert not budget or all(batch.input_ids.numel() <= budget for batch in batches)
            # packed, nothing is padded: all tokens but the last of each answer
            inputs = sum(batch.input_ids.numel() for batch in batches)
            assert layout == "padded" or inputs == sum(len(one) - 1 for one in examples)


EXAMPLES = [
    Example((10, 11, 12), (13, 1)),
    Example((20,), (21, 22, 1)),
    Example((30, 31, 32, 33, 34), (35, 36, 37, 1)),
    Example((40,), (1,)),
]


def make_learning(policy, run_dir, display=None, guards=None, **config):
    experiment = make_experiment(
        run_dir, policy.config, learner=Supervised(), supervised=replace(CONFIG, **config), guards=guards or GuardsConfig()
    )
    run = run_of(experiment, TASKS[:4], display=display)
    return SupervisedLearning(run, policy, TASKS[:4], EXAMPLES, held_out=None, engine=None, advise=no_advice)


def test_the_loss_is_the_mean_over_answer_tokens_only(tiny_policy, tmp_path):
    expected, count = 0.0, 0
    with torch.inference_mode():
        for row in EXAMPLES:
            ids = torch.tensor([row.prompt + row.answer])
            logprobs = tiny_policy.model(input_ids=ids).logits[0].log_softmax(-1)
            for position in range(len(row.prompt), len(row)):
                expected -= float(logprobs[position - 1, ids[0, position]])
                count += 1
    assert count == 10
    assert make_learning(tiny_policy, tmp_path).accumulate(EXAMPLES) == pytest.approx(expected / count, rel=1e-5)


@pytest.mark.parametrize("rank", [0, 4])
def test_loss_and_gradient_are_the_same_packed_or_padded_and_however_they_are_cut(tiny_config, tmp_path, rank):
    if rank:
        pytest.importorskip("peft", reason="the extra lora is not installed")
    policy = load_policy(replace(tiny_config, lora=LoraConfig(rank=rank)), TRAINER)
    trained = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained if rank else []:
            parameter.normal_(std=0.2)
    found = []
    for layout in ("padded", "packed"):
        for budget in (0, 9, 20):
            loss = make_learning(policy, tmp_path, layout=layout, max_tokens_per_microbatch=budget).accumulate(EXAMPLES)
            found.append((loss, torch.cat([parameter.grad.flatten() for parameter in trained])))
            policy.model.zero_grad()
    expected_loss, expected = found[0]
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert (gradient - expected).norm() / expected.norm() < 1e-5


def test_a_model_whose_attention_is_its_own_is_trained_padded_and_told_so(tiny_policy, tmp_path, monkeypatch):
    display = Listening()
    monkeypatch.setattr("gapo_cli.models.usable_layout.takes_shared_prefixes", lambda policy: False)
    assert make_learning(tiny_policy, tmp_path, display, layout="packed").layout == "padded"
    assert display.said == [
        "supervised.layout=packed: the attention of Qwen2ForCausalLM cannot be replaced; using padded, the same numbers with more arithmetic"
    ]


def test_a_model_with_dropout_in_its_attention_is_trained_padded_and_told_so(tiny_policy, tmp_path):
    display = Listening()
    tiny_policy.model.config.attention_dropout = 0.1
    assert make_learning(tiny_policy, tmp_path, display, layout="packed").layout == "padded"
    assert display.said == [
        "supervised.layout=packed: has no attention dropout, and the model's config asks for 0.1; using padded"
    ]


def test_an_answer_is_the_logged_outcome_with_the_end_token(tiny_policy):
    (example,) = encode_examples(tiny_policy, PlainTemplate(), [task(0)], EditLogConfig(), seed=0).kept
    assert example.answer[-1] == tiny_policy.eos_token_id
    assert tiny_policy.tokenizer.decode(example.answer[:-1]) == PlainTemplate().answer(task(0), "x = b\n")


TRAINER = TrainerConfig(1, 1, 1, OptimizerConfig(1e-3))
TASKS = [task(n, target=f"x = {'bcd'[n % 3]}\n") for n in range(12)]


@pytest.fixture
def make_loop(tmp_path, tiny_config):
    def make(name="run", seed=0, checkpoint=None, display=None, held_out=False, lora=None, **config):
        path = tiny_config.path if checkpoint is None else str(checkpoint)
        torch.manual_seed(0)  # for the adapters
        policy = load_policy(replace(tiny_config, path=path, lora=lora or LoraConfig()), TRAINER)
        run_dir = tmp_path / name
        run_dir.mkdir(exist_ok=True)
        experiment = make_experiment(
            run_dir,
            tiny_config,
            seed=seed,
            learner=Supervised(),
            supervised=replace(CONFIG, **{"scramble": 0.5} | config),
            evaluation=EvaluationConfig(samples=1),
            sampling=SamplingConfig(group_size=1, max_new_tokens=8),
        )
        run = run_of(experiment, TASKS, TASKS[:3], checkpoint, display)
        examples = encode_examples(policy, PlainTemplate(), TASKS, experiment.supervised.log, seed).kept
        asked = run.encode_held_out(policy) if held_out else None
        engine = TorchEngine(policy, max_rows=64) if held_out else None
        life = Life(run, SupervisedLearning(run, policy, TASKS, examples, asked, engine, no_advice))
        if checkpoint is not None:
            life.resume_from(checkpoint)
        return life

    return make


def weights_of(loop):
    return torch.cat([weight.detach().flatten() for weight in loop.learning.policy.model.parameters()])


def result_of(loop):
    loop.run()
    return loop.learning.result()


def rows_of(loop):
    return [repeatable(json.loads(line)) for line in loop.files.metrics.read_text().splitlines()]


@pytest.mark.slow
def test_training_lowers_the_loss_and_the_same_seed_gives_the_same_weights(make_loop):
    loops = [make_loop(name, seed, scramble=0.0) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    results = [result_of(loop) for loop in loops]
    assert results[0].last_loss < 0.5 * results[0].first_loss
    assert results[0].tokens >= CONFIG.tokens
    weights = [weights_of(loop) for loop in loops]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def run_until_power_goes_off(loop, updates):
    step = loop.learning.optimizer.step

    def breaking(*finite):
        if loop.learning.optimizer.updates == updates:
            raise RuntimeError("the power went off")
        return step(*finite)

    loop.learning.optimizer.step = breaking
    with pytest.raises(RuntimeError, match="the power went off"):
        loop.run()


def test_a_resumed_run_equals_one_that_never_stopped(make_loop):
    whole = make_loop("whole")
    result = result_of(whole)
    assert result.steps > 8
    broken = make_loop("broken")
    run_until_power_goes_off(broken, updates=6)
    checkpoint = newest_whole(broken.files.run_dir).checkpoint
    assert checkpoint.name == "step-00004"
    # batches 4 to 6 were logged and are taken back
    assert [row["step"] for row in rows_of(broken)] == [3, 6]
    resumed = make_loop("broken", checkpoint=checkpoint)
    assert [row["step"] for row in rows_of(resumed)] == [3]
    again = result_of(resumed)
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert rows_of(resumed) == rows_of(whole)
    assert (again.steps, again.tokens, again.first_loss, again.last_loss) == (
        result.steps,
        result.tokens,
        result.first_loss,
        result.last_loss,
    )


def test_ctrl_c_leaves_a_checkpoint_of_the_last_whole_batch(make_loop):
    display = Listening()
    loop = make_loop(display=display)
    step = loop.learning.optimizer.step

    def pressing(*finite):
        if loop.learning.optimizer.updates == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*finite)

    loop.learning.optimizer.step = pressing
    assert loop.run().interrupted
    assert "stopped after batch 2 of" in display.said[-1]
    resumed = make_loop(checkpoint=loop.checkpoints.path(2))
    resumed.run()
    whole = make_loop("whole")
    whole.run()
    assert torch.equal(weights_of(resumed), weights_of(whole))


@pytest.mark.slow
def test_adapters_are_trained_with_dropout_and_resumed_bit_for_bit(make_loop):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    lora = {"lora": LoraConfig(rank=2, dropout=0.3), "layout": "packed", "tokens": 1500}
    whole = make_loop("whole", **lora)
    whole.run()
    first = make_loop("first", **lora | {"tokens": 900})
    base = weights_of(first)
    first.run()
    checkpoint = newest_whole(first.files.run_dir).checkpoint
    assert (checkpoint / "adapter_model.safetensors").is_file()
    short = make_loop("again", checkpoint=checkpoint, **lora | {"tokens": 900})
    assert torch.equal(weights_of(short), weights_of(first))
    assert not torch.equal(weights_of(first), base)
    # the learning rate of a longer run falls later, so the whole run is broken off instead
    broken = make_loop("broken", **lora)
    run_until_power_goes_off(broken, updates=5)
    resumed = make_loop("broken", checkpoint=newest_whole(broken.files.run_dir).checkpoint, **lora)
    assert resumed.step == 4
    resumed.run()
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_held_out_tasks_are_asked_before_after_and_in_between_and_the_best_model_is_kept(make_loop):
    loop = make_loop(held_out=True, evaluate_every=5, tokens=1500)
    result = result_of(loop)
    evaluated = [row["step"] for row in rows_of(loop) if "val/exact_match" in row]
    assert evaluated == [*range(0, result.steps, 5), result.steps]
    assert loop.best["step"] == loop.checkpoints.best.step()
    assert {path.name for path in (loop.files.run_dir / "eval").glob("*.json")} == {
        f"step-{step:05d}.json" for step in evaluated
    }


def test_ctrl_c_in_an_evaluation_makes_it_again_after_resuming(make_loop, monkeypatch):
    settings = {"held_out": True, "evaluate_every": 2, "tokens": 1000}
    whole = make_loop("whole", **settings)
    whole.run()
    loop = make_loop(**settings)
    evaluate = HeldOut.evaluate

    def pressing(held_out, step, *others):
        if step == 4:
            raise KeyboardInterrupt
        return evaluate(held_out, step, *others)

    with monkeypatch.context() as patched:
        patched.setattr(HeldOut, "evaluate", pressing)
        assert loop.run().interrupted
    resumed = make_loop(checkpoint=loop.checkpoints.path(4), **settings)
    resumed.run()
    assert rows_of(resumed) == rows_of(whole)
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_an_engine_that_can_sleep_does_so_while_a_resumed_run_trains(make_loop, monkeypatch):
    loop = make_loop(held_out=True, tokens=600)
    loop.run()
    calls = []
    monkeypatch.setattr(TorchEngine, "sleep", lambda engine: calls.append("sleep"), raising=False)
    make_loop("new", held_out=True)  # is evaluated first
    assert calls == []
    make_loop(checkpoint=newest_whole(loop.files.run_dir).checkpoint, held_out=True, tokens=1200)
    assert calls == ["sleep"]


def test_another_seed_or_stage_cannot_be_resumed(make_loop):
    loop = make_loop(tokens=600)
    loop.run()
    checkpoint = newest_whole(loop.files.run_dir).checkpoint
    with pytest.raises(CheckpointError, match="trained with seed=0, this run has seed=1; give that seed"):
        make_loop("other", seed=1, checkpoint=checkpoint)
    with pytest.raises(
        CheckpointError, match="is of stage=sft, and this run is stage=rl; give stage=sft, or start from its model"
    ):
        load_state(checkpoint, "rl")


def test_a_task_that_does_not_fit_the_context_is_named_or_left_out_and_counted(tiny_policy):
    tasks = [task(6), task(7, region="x" * 300), task(8, region="x" * 301)]
    sentence = (
        r"task task-7: its prompt of 305 tokens and its answer of 7 do not fit model.context_length=256; the same holds for 2 of 3 training "
        r"tasks; raise it to 313, or leave them out with data.on_long=skip"
    )
    with pytest.raises(DataError, match=sentence):
        encode_examples(tiny_policy, PlainTemplate(), tasks, EditLogConfig(), seed=0)
    examples = encode_examples(tiny_policy, PlainTemplate(), tasks, EditLogConfig(), seed=0, on_long="skip")
    assert (len(examples.kept), examples.tasks, examples.too_long) == (1, (tasks[0],), ("task-7", "task-8"))
    with pytest.raises(DataError, match="prepare shorter tasks"):
        encode_examples(tiny_policy, PlainTemplate(), tasks[1:], EditLogConfig(), seed=0, on_long="skip")


def test_an_empty_split_is_refused(tiny_policy):
    with pytest.raises(UserError, match="needs at least one task"):
        encode_examples(tiny_policy, PlainTemplate(), [], EditLogConfig(), seed=0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tokens": None}, "supervised.tokens=null and supervised.epochs=null: need at least one of them"),
        ({"epochs": 0.0}, "supervised.epochs=0.0: need a number above 0"),
        ({"layout": "pakced"}, "supervised.layout=pakced: need one of packed, padded; did you mean packed"),
        ({"evaluate_every": -1}, "supervised.evaluate_every=-1: need 0 or more"),
    ],
)
def test_settings_check_themselves(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        replace(CONFIG, **settings)


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.5, -0.25, -0.25)])
def test_shares_of_the_log_that_do_not_add_up_are_refused(shares):
    with pytest.raises(UserError, match="three shares that add up to 1"):
        EditLogConfig(0.5, *shares)


def test_a_supervised_run_whose_loss_is_never_finite_stops_and_keeps_the_batch(tmp_path, tiny_policy):
    import pandas as pd

    with torch.no_grad():
        tiny_policy.model.lm_head.weight[5] = float("inf")
    learning = make_learning(tiny_policy, tmp_path, guards=GuardsConfig(2))
    loop = Life(learning.run, learning)
    with pytest.raises(
        UserError, match=r"guards.skipped_in_a_row=2: .* not finite in 2 optimizer steps in a row, the last in batch 2"
    ):
        loop.run()
    batch = pd.read_parquet(tmp_path / "stopped" / "step-00002.parquet")
    assert batch["task_id"].tolist() == [TASKS[index].id for index in loop.learning.plan[1]]
    assert batch["answer"].str.endswith("<eos>").all()
