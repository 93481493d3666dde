"""gapo train: reinforcement learning from rollouts (stage=rl), or the supervised stage before it (stage=sft)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapo_cli.config.checks import require
from gapo_cli.experiment import Experiment, check_engine, check_settings
from gapo_cli.interfaces import Display, TextEngine
from gapo_cli.models.nano.base_note import base_note
from gapo_cli.records import EditTask
from gapo_cli.runs.layout import REPORT
from gapo_cli.stages.run_setup import keep_inputs, set_up_run
from gapo_cli.stages.supervised import train_supervised
from gapo_cli.tasks.sets.prepared import load_tasks
from gapo_cli.training.checkpoints.starting_point import StartingPoint, starting_point

if TYPE_CHECKING:
    from gapo_cli.training.lifecycle import TrainingOutcome


@dataclass(frozen=True)
class TrainResult:
    """Where things are. `best_checkpoint`: None where nothing was evaluated. `first` and `last`: the val/*
    metrics before and after training, with their `step`."""

    run_dir: Path
    checkpoint: Path
    best_checkpoint: Path | None
    report: Path
    first: Mapping[str, float]
    last: Mapping[str, float]


def train(experiment: Experiment, display: Display) -> TrainResult:
    """Trains, and writes everything into the run's folder; with `resume`, into the folder of the run that is resumed.
    Raises UserError for settings that cannot be trained with, before a model is loaded; KeyboardInterrupt after Ctrl-C,
    when the last whole step is saved and reported."""
    require(
        not isinstance(experiment.engine, TextEngine),
        "gapo train: a served model (engine=openai) cannot be trained, its weights lie elsewhere; leave engine= out, or use "
        "gapo eval or gapo rollout",
    )
    samplings = [*experiment.evaluation.samplings(experiment.sampling).values()]
    if experiment.stage == "rl":
        check_settings(experiment)
        samplings.append(experiment.sampling)
    (experiment.supervised if experiment.stage == "sft" else experiment.trainer).optimizer.check()
    check_engine(experiment, samplings)
    note = base_note(experiment.model.path)
    if note is not None:
        display.say(note)
    with starting_point(experiment, display) as start:
        ended = (train_supervised if experiment.stage == "sft" else reinforce)(experiment, start, display)
        numbers = first_and_last_evaluation(start.run_dir)
        result = TrainResult(start.run_dir, ended.checkpoint, ended.best, write_run_report(start.run_dir), *numbers)
    if ended.interrupted:
        display.say(f"report: {result.report}")
        raise KeyboardInterrupt
    for line in closing_lines(result):
        display.say(line)
    return result


def reinforce(experiment: Experiment, start: StartingPoint, display: Display) -> TrainingOutcome:
    """The stage=rl of `train`. Raises KeyboardInterrupt after Ctrl-C where nothing was learnt yet."""
    # torch only from here on: a wrong setting is answered at once
    from gapo_cli.training.lifecycle import TrainingLoop

    run_dir, checkpoint = start.run_dir, start.checkpoint
    tasks = load_tasks(experiment, experiment.data.train_split, display)
    held_out = load_tasks(experiment, experiment.evaluation.split, display)
    set_up_run(experiment, run_dir)
    keep_inputs(experiment, run_dir, display)
    loop = TrainingLoop(build_parts(experiment, run_dir, checkpoint, tasks, held_out, display))
    if checkpoint is not None:
        loop.resume_from(checkpoint, may_be_done=start.automatic)
    elif start.automatic:
        loop.start_over()
    outcome = loop.run()
    if outcome.checkpoint is None:
        raise KeyboardInterrupt
    return outcome


def build_parts(
    experiment: Experiment,
    run_dir: Path,
    checkpoint: Path | None,
    tasks: Sequence[EditTask],
    held_out: Sequence[EditTask],
    display: Display,
) -> Any:
    """Loads the models and tokenises the tasks, as the `Parts` of a training loop. The policy is the checkpoint's where
    there is one; the reference is the starting model in any case."""
    from gapo_cli.models.policy import load_policy
    from gapo_cli.models.reference import make_reference
    from gapo_cli.planning.memory_advice import before_lengths, while_reinforcing
    from gapo_cli.rollouts.encoding import encode_tasks, fit_training_tasks
    from gapo_cli.rollouts.validation import select_tasks
    from gapo_cli.training.lifecycle import Parts
    from gapo_cli.training.out_of_memory import memory_watched

    trainer, sampling, model = experiment.trainer, experiment.sampling, experiment.model
    start = model if checkpoint is None else replace(model, path=str(checkpoint))
    reference = None
    with memory_watched("loading the model", "loading", before_lengths(experiment)):
        policy = load_policy(start, trainer)
        if experiment.algorithm.needs_reference:
            reference = make_reference(policy, model, trainer.reference_dtype, at_start=checkpoint is None)
    fitted = fit_training_tasks(
        encode_tasks(policy, experiment.template, tasks, display.progress),
        model.context_length,
        sampling.max_new_tokens,
        experiment.data.on_long,
    )
    if fitted.too_long:
        display.say(
            f"left out {len(fitted.too_long)} of {len(tasks)} training tasks that do not fit model.context_length={model.context_length}"
        )
    budget = trainer.max_tokens_per_microbatch
    # the last token of an answer is a label only
    beyond = sum(len(one.token_ids) + sampling.max_new_tokens - 1 > budget for one in fitted.kept) if budget else 0
    if beyond:
        display.say(
            f"trainer.max_tokens_per_microbatch={budget}: {beyond} of {len(fitted.kept)} training prompts pass it with an answer of "
            f"{sampling.max_new_tokens} tokens; such an answer is a micro-batch of its own"
        )
    advise = while_reinforcing(experiment, policy, [len(one.token_ids) for one in fitted.kept])
    with memory_watched("starting the engine", "rollout", advise):
        engine = experiment.engine(policy=policy)
    return Parts(
        run_dir=run_dir,
        seed=experiment.seed,
        policy=policy,
        reference=reference,
        engine=engine,
        template=experiment.template,
        reward=experiment.reward,
        estimator=experiment.estimator,
        algorithm=experiment.algorithm,
        sampling=sampling,
        trainer=trainer,
        evaluation=experiment.evaluation,
        tasks=fitted.kept,
        held_out=encode_tasks(
            policy, experiment.template, select_tasks(held_out, experiment.evaluation.tasks), display.progress
        ),
        display=display,
        guards=experiment.guards,
        advise=advise,
    )


def first_and_last_evaluation(run_dir: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The val/* numbers of the first and the last row of metrics.jsonl that have any; empty where none has."""
    from gapo_cli.runs.layout import METRICS
    from gapo_cli.storage.files import read_jsonl

    metrics = run_dir / METRICS
    rows = [row for _, row in read_jsonl(metrics)] if metrics.is_file() else []
    found = [{"step": row["step"]} | measured for row in rows if (measured := _measured(row))]
    return (found[0], found[-1]) if found else ({}, {})


def write_run_report(run_dir: Path) -> Path:
    from gapo_cli.reports.page import write_report

    path = run_dir / REPORT
    write_report([run_dir], path)
    return path


def closing_lines(result: TrainResult) -> list[str]:
    """What was reached and where it lies."""
    lines = []
    for name, words in (("val/exact_match", "greedy"), ("val/sampled/exact_match", "sampled")):
        if name in result.first and name in result.last:
            lines.append(
                f"{words} exact match on held-out tasks: {result.first[name]:.3f} before, {result.last[name]:.3f} after "
                f"{result.last['step']} steps"
            )
    lines.append(f"report: {result.report}")
    lines.append(f"checkpoint: {result.checkpoint}")
    if result.best_checkpoint is not None:
        lines.append(f"best checkpoint: {result.best_checkpoint}")
    return lines


def _measured(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.startswith("val/")}
