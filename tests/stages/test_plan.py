"""gapo plan on a few tasks and a tiny model: what it counts, when it says that a run does not fit, what it would change."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from own_learner import Counting
from parts import TASKS_PER_SPLIT, smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.config.data import PlanConfig
from gapo_cli.config.model import ShapeConfig
from gapo_cli.errors import UserError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.launching import launch
from gapo_cli.models.prompt_tokens import encode_texts
from gapo_cli.reports.plan_tables import as_json, tables, warnings
from gapo_cli.stages.plan import plan
from gapo_cli.tasks.sets.prepared import load_tasks
from gapo_cli.training.learners.preference import Preference
from gapo_cli.training.learners.supervised import Supervised


@pytest.fixture
def words(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [*smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder), "plan.flops=1e9", "plan.memory_gib=8"]


@pytest.fixture
def experiment(words):
    """What `gapo plan` gets."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gapo_cli.stages.plan.plan", lambda experiment, display: seen.append(experiment))
        launch.enquire("plan", words, QuietDisplay())
    return seen[0]


def test_lengths_are_those_of_the_prepared_tasks(experiment, tiny_policy):
    found = plan(experiment, QuietDisplay())
    tasks = load_tasks(experiment, "train", QuietDisplay())
    prompts = [
        len(ids) for ids in encode_texts(tiny_policy.tokenizer, [experiment.template.render(task).text for task in tasks])
    ]
    lengths = found.outline.lengths
    assert (lengths.tasks, lengths.prompts) == (TASKS_PER_SPLIT, tuple(prompts))
    # the target and the end token, cut at the limit of 4
    assert set(lengths.answers) == {4}
    assert not lengths.estimated


def amounts_of(found):
    return {one.key: one.value for one in found.outline.amounts}


def test_counts_of_a_run(experiment):
    trainer = replace(experiment.trainer, steps=6, prompts_per_step=4, prompts_per_mini_batch=2, epochs_per_step=3)
    found = plan(replace(experiment, trainer=trainer), QuietDisplay())
    amounts = amounts_of(found)
    assert amounts["rollouts_per_step"] == 4 * 2
    # two mini-batches, three times each; six steps
    assert (found.settings.trainer.updates_per_step, amounts["optimizer_steps"]) == (6, 36)
    assert amounts["passes_over_tasks"] == 6 * 4 / 12
    assert amounts["answer_tokens_per_step"] == 8 * 4
    assert found.evaluations == 4  # before, after steps 2 and 4, and at the end, every_steps=2


def test_a_budget_of_tokens_is_planned_as_the_steps_that_it_lasts_for(experiment):
    whole = plan(experiment, QuietDisplay()).outline
    one_step = whole.computed / whole.steps
    trainer = replace(experiment.trainer, steps=100, budget_tokens=int(2.5 * one_step))
    assert plan(replace(experiment, trainer=trainer), QuietDisplay()).outline.steps == 3


def test_hours_are_operations_over_speed(experiment):
    found = plan(experiment, QuietDisplay())
    seconds = 2 * found.step.total / 1e9 + found.evaluation.total / 1e9
    assert found.hours == pytest.approx(seconds / 3600)
    assert found.padded > found.packed > 0


@pytest.mark.parametrize("layout", ["packed", "masked", "padded"])
def test_every_layout_is_planned_beside_packed_and_padded(experiment, layout):
    found = plan(replace(experiment, trainer=replace(experiment.trainer, layout=layout)), QuietDisplay())
    assert found.step.update == getattr(found, layout, found.step.update)
    assert found.padded > found.packed > 0


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_supervised_and_preference_runs_are_planned_in_the_same_tables(words, capsys, stage):
    asked = [*words, f"stage={stage}", "dpo.pairs=sampled"]
    assert run_command(["plan", *asked, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    step = said["flops_per_step"]
    # no rollouts, and as many reference passes as the policy makes forward
    assert (step["prompts"], step["decoding"], step["old_logprobs"]) == (0, 0, 0)
    assert (step["reference"] > 0, said["memory"]["learning"]["reference"] > 0) == (stage == "dpo", stage == "dpo")
    assert (said["flops_before_the_first_step"] > 0) == (stage == "dpo")
    whole = said["steps"] * step["total"] + said["flops_before_the_first_step"] + said["evaluation_flops"]
    assert said["hours"] == pytest.approx(whole / 1e9 / 3600)
    assert run_command(["plan", *asked]) == 0
    shown = capsys.readouterr().out
    assert "memory at most" in shown and "tokens computed" in shown and "Fits: " in shown
    assert ("Before the first step, answers to learn from: " in shown) == (stage == "dpo")


def test_advice_names_a_learners_own_settings(experiment):
    large = ShapeConfig(24, 2048, 16, 16, 128, 5504, 32000)
    experiment = replace(
        experiment,
        learner=Supervised(),
        model=replace(experiment.model, path="some/model", shape=large),
        trainer=replace(experiment.trainer, device="cuda"),
        plan=PlanConfig(flops=1e9, memory_gib=10),
    )
    words = {change.words for change in plan_without_tokenizer(experiment).advice.changes}
    assert "supervised.optimizer.name=adamw_8bit" in words
    assert not any(word.startswith(("trainer.optimizer", "algorithm.")) for word in words)


def test_what_a_preference_run_cannot_do_without_is_not_advised_against(experiment):
    large = ShapeConfig(24, 2048, 16, 16, 128, 5504, 32000)
    experiment = replace(
        experiment,
        learner=Preference(),
        dpo=replace(experiment.dpo, pairs="sampled"),
        model=replace(experiment.model, path="some/model", shape=large),
        trainer=replace(experiment.trainer, device="cuda"),
        plan=PlanConfig(flops=1e9, memory_gib=10),
    )
    found = plan_without_tokenizer(experiment)
    assert found.memory.update["reference"] == found.memory.update["weights"] == 4 * found.parameters
    assert not any("algorithm" in change.words for change in found.advice.changes)
    assert any(change.words.startswith("dpo.optimizer.name=adamw_8bit") for change in found.advice.changes)


def test_a_learner_of_ones_own_that_does_not_say_what_it_does_is_answered_in_a_sentence(experiment):
    with pytest.raises(UserError, match="stage=counting: does not say what a run of it does, so gapo plan cannot estimate one"):
        plan(replace(experiment, learner=Counting()), QuietDisplay())


def test_what_fits_gets_no_advice(experiment):
    found = plan(experiment, QuietDisplay())
    assert (found.fits, found.advice) == (True, None)


def test_a_run_that_does_not_fit_is_told_what_saves_how_much(experiment):
    # a model of 1.2 billion parameters, padded, all answers at once, with a reference
    large = ShapeConfig(24, 2048, 16, 16, 128, 5504, 32000)
    experiment = replace(
        experiment,
        model=replace(experiment.model, path="some/model", shape=large),
        trainer=replace(
            experiment.trainer,
            layout="padded",
            max_tokens_per_microbatch=0,
            device="cuda",
            prompts_per_step=32,
            prompts_per_mini_batch=32,
        ),
        sampling=replace(experiment.sampling, group_size=16),
        plan=PlanConfig(flops=1e9, memory_gib=10),
    )
    found = plan_without_tokenizer(experiment)
    assert found.fits is False
    saved = {change.words: change.saves for change in found.advice.changes}
    assert {
        "trainer.layout=packed",
        "trainer.gradient_checkpointing=true",
        "trainer.optimizer.name=adamw_8bit",
        "algorithm.terms.kl.coefficient=0",
    } <= set(saved)
    assert saved["algorithm.terms.kl.coefficient=0"] == found.memory.update["reference"]
    assert found.advice.fits
    assert found.advice.together[-1].startswith("model.lora.rank=64")
    assert "DOES NOT FIT" in tables(found)[1].note
    assert tables(found)[-1].note.startswith("It fits with trainer.layout=packed")


def plan_without_tokenizer(experiment):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gapo_cli.planning.task_lengths.find_tokenizer", lambda *_: None)
        return plan(experiment, QuietDisplay())


def test_without_the_tokenizer_lengths_are_characters_over_three(experiment):
    found = plan_without_tokenizer(experiment)
    tasks = load_tasks(experiment, "train", QuietDisplay())
    assert found.outline.lengths.prompts == tuple(round(len(experiment.template.render(task).text) / 3) for task in tasks)
    assert any("estimated from characters" in warning for warning in warnings(found))


def test_nothing_helps_where_the_weights_alone_are_too_large(experiment):
    found = plan(replace(experiment, plan=PlanConfig(flops=1e9, memory_gib=1e-5)), QuietDisplay())
    assert (found.fits, found.advice.fits) == (False, False)


def test_prompts_that_leave_no_room_are_counted(experiment):
    lengths = sorted(plan(experiment, QuietDisplay()).outline.lengths.prompts)
    context = lengths[-1] + 3  # the limit is 4: the longest prompts do not fit
    found = plan(replace(experiment, model=replace(experiment.model, context_length=context)), QuietDisplay())
    assert found.outline.lengths.too_long == sum(length + 4 > context for length in lengths) > 0
    assert any(
        warning.startswith(f"{found.outline.lengths.too_long} of 12 prompts leave no room") for warning in warnings(found)
    )
    with pytest.raises(UserError, match="none of the prompts fits"):
        plan(replace(experiment, model=replace(experiment.model, context_length=8)), QuietDisplay())


def test_the_speed_is_measured_where_it_is_not_given(experiment):
    found = plan(replace(experiment, plan=PlanConfig()), QuietDisplay())
    assert found.speed.measured
    assert found.speed.passes > 1e6
    assert found.available > 1e6


def test_decoding_is_timed_for_as_many_rows_as_the_engine_decodes_at_a_time(experiment, monkeypatch):
    rows = []
    monkeypatch.setattr("gapo_cli.planning.device_speed.measured_flops", lambda count, *_: rows.append(count) or 1e9)
    trainer = replace(experiment.trainer, prompts_per_step=16, max_tokens_per_microbatch=100)  # 32 answers
    for most in (20, 40):
        engine = replace(experiment.engine, max_rows=most)
        plan(replace(experiment, plan=PlanConfig(), trainer=trainer, engine=engine), QuietDisplay())
    assert rows == [100, 20, 100, 32]


@pytest.mark.slow
def test_a_device_that_is_not_here_needs_its_figures(experiment):
    elsewhere = replace(experiment, trainer=replace(experiment.trainer, device="cuda"), plan=PlanConfig(flops=1e12))
    found = plan(elsewhere, QuietDisplay())
    assert (found.available, found.fits) == (None, None)
    assert "plan.memory_gib=" in tables(found)[1].note


def test_json_and_tables_say_the_same(words, capsys):
    assert run_command(["plan", *words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rollouts_per_step"] == 8
    assert said["fits"] is True
    assert said["peak_bytes"] == max(sum(phase.values()) for phase in said["memory"].values())
    assert run_command(["plan", *words]) == 0
    shown = capsys.readouterr().out
    assert f"{said['parameters'] / 1e3:.3g} k" in shown
    assert "Fits: " in shown
    assert not Path("outputs").exists()


def test_as_json_is_json(experiment):
    json.dumps(as_json(plan(experiment, QuietDisplay())), allow_nan=False)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("plan.flops=-1", "plan.flops=-1.0: need a number above 0"),
        ("stage=dpo", "none of the 12 training tasks has a rejected text"),
        ("sampling.group_size=1", "need at least 2 to train, or a critic (algorithm=ppo)"),
        ("algorithm.critic=head", "algorithm.critic=head: algorithm=grpo has no critic; give algorithm=ppo, or leave it out"),
        ("model.path=no/such/folder/here", "no such folder"),
    ],
)
def test_mistakes_are_answered_with_exit_code_2(words, capsys, asked, sentence):
    assert run_command(["plan", *words, asked]) == 2
    assert sentence in capsys.readouterr().err
