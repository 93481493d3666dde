"""gapo train: leads the learner that `stage` names through a run, and reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gapo_cli.config.checks import require
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display, TextEngine
from gapo_cli.models.nano.base_note import base_note
from gapo_cli.processes.place import check_processes
from gapo_cli.runs.layout import REPORT
from gapo_cli.stages.run_setup import check_model_there, keep_inputs, set_up_run
from gapo_cli.tasks.sets.prepared import load_tasks
from gapo_cli.training.checkpoints.starting_point import StartingPoint, starting_point

if TYPE_CHECKING:
    from gapo_cli.training.lifecycle import Life


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
    ranks = experiment.ranks
    check_processes(experiment.trainer.processes, ranks.count)
    check_settings(experiment)
    note = base_note(experiment.model.path)
    if note is not None:
        display.say(note)
    with starting_point(experiment, display) as start:
        ended = begin(experiment, start, display).run()
        if ended.checkpoint is None:
            raise KeyboardInterrupt
        result = ranks.from_first(lambda: reported(start.run_dir, ended.checkpoint, ended.best))
    if ended.interrupted:
        display.say(f"report: {result.report}")
        raise KeyboardInterrupt
    for line in closing_lines(result):
        display.say(line)
    return result


def check_settings(experiment: Experiment) -> None:
    """Raises UserError for settings that cannot be trained with, as far as they tell without a model and data."""
    require(
        not isinstance(experiment.engine, TextEngine),
        "gapo train: a served model (engine=openai) cannot be trained, its weights are on the server; leave engine= out, or use "
        "gapo eval or gapo rollout",
    )
    with experiment.learner_at_work():
        experiment.learner.check(experiment)


def begin(experiment: Experiment, start: StartingPoint, display: Display) -> Life:
    """Loads the data and the model, and goes to where the run starts."""
    # torch only from here on: a wrong setting is answered at once
    from gapo_cli.planning.memory_advice import before_lengths, while_learning
    from gapo_cli.training.lifecycle import Life
    from gapo_cli.training.run_context import RunContext

    if start.checkpoint is None and experiment.learner.starts_from_folder(experiment):
        check_model_there(experiment.model)
    ranks = experiment.ranks
    tasks = ranks.from_first(lambda: load_tasks(experiment, experiment.data.train_split, display))
    held_out = ranks.from_first(lambda: load_tasks(experiment, experiment.evaluation.split, display))
    set_up_run(experiment, start.run_dir, display)
    ranks.from_first(lambda: keep_inputs(experiment, start.run_dir, display))
    context = RunContext(
        experiment=experiment,
        run_dir=start.run_dir,
        tasks=tasks,
        held_out=held_out,
        display=display,
        checkpoint=start.checkpoint,
        while_loading=before_lengths(experiment),
        advice=while_learning,
    )
    return Life.begin(context, automatic=start.automatic)


def reported(run_dir: Path, checkpoint: Path, best: Path | None) -> TrainResult:
    return TrainResult(run_dir, checkpoint, best, write_run_report(run_dir), *first_and_last_evaluation(run_dir))


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
