"""gapo train stage=sft: supervised training on an edit log, of a model that is loaded or one that is made from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gapo_cli.interfaces import Display, Experiment
from gapo_cli.records import EditTask
from gapo_cli.stages.prepare import load_tasks
from gapo_cli.stages.run_setup import set_up_run
from gapo_cli.stages.starting_point import StartingPoint

if TYPE_CHECKING:
    from gapo_cli.models.load import LoadedModel
    from gapo_cli.training.loop import TrainingOutcome
    from gapo_cli.training.run_files import RunFiles

FINAL = "final"
RECORD = "supervised.json"


def train_supervised(experiment: Experiment, start: StartingPoint, display: Display) -> TrainingOutcome:
    """The stage=sft of `train`: evaluates, trains for `supervised.tokens`, evaluates again. The model lies in
    checkpoints/final and, in bfloat16, where `supervised.save_as` says. Raises KeyboardInterrupt after Ctrl-C where nothing
    was learnt yet."""
    # torch only from here on: a wrong setting is answered at once
    from gapo_cli.files import write_json
    from gapo_cli.models.load import save_model
    from gapo_cli.models.saving import save_plain
    from gapo_cli.training.checkpoints import FOLDER
    from gapo_cli.training.loop import TrainingOutcome
    from gapo_cli.training.supervised_loop import SupervisedLoop

    run_dir, config = start.run_dir, experiment.supervised
    tasks = load_tasks(experiment, experiment.data.train_split, display)
    held_out = load_tasks(experiment, experiment.evaluation.split, display)
    set_up_run(experiment, run_dir)
    policy = load_or_make(experiment, start.checkpoint, tasks)
    loop = SupervisedLoop(
        run_dir, policy, tasks, experiment.template, config, experiment.seed, display, experiment.trainer.keep_checkpoints,
        guards=experiment.guards,
    )  # fmt: skip
    if start.checkpoint is not None:
        loop.resume_from(start.checkpoint)
    else:
        if start.automatic:
            loop.start_over()
        measured = evaluate_held_out(experiment, policy, held_out, loop.files, 0, display)
        loop.files.record({"step": 0, "time_s": 0.0, **measured}, display)
    try:
        result = loop.run()
    except KeyboardInterrupt:
        if not loop.number:
            raise
        return TrainingOutcome(loop.number, loop.checkpoints.path(loop.number), best=None, interrupted=True)
    measured = evaluate_held_out(experiment, policy, held_out, loop.files, result.steps, display)
    loop.files.record({"step": result.steps, "time_s": result.seconds, **measured}, display)
    checkpoint = run_dir / FOLDER / FINAL
    save_model(policy, checkpoint)
    write_json(run_dir / RECORD, {"settings": asdict(config), **asdict(result)})
    if config.save_as:
        save_plain(policy, Path(config.save_as), "bfloat16")
        display.say(f"saved in bfloat16: {config.save_as}")
    return TrainingOutcome(result.steps, checkpoint, best=None, interrupted=False)


def load_or_make(experiment: Experiment, checkpoint: Path | None, tasks: Sequence[EditTask]) -> LoadedModel:
    """The model of the checkpoint that is resumed, else the one at `model.path`, or, with `supervised.architecture`, a new one whose tokenizer is trained on the tasks'
    prompts and answers."""
    from gapo_cli.models.load import LoadedModel, load_model
    from gapo_cli.models.nano import build_nano
    from gapo_cli.models.nano_tokenizer import train_tokenizer

    model, trainer, shape = experiment.model, experiment.trainer, experiment.supervised.architecture
    if checkpoint is not None:
        return load_model(replace(model, path=str(checkpoint)), trainer.device, trainer.dtype)
    if shape is None:
        return load_model(model, trainer.device, trainer.dtype)
    template = experiment.template
    tokenizer = train_tokenizer(
        (text for task in tasks for text in (template.render(task).text, template.answer(task, task.target))), shape.vocabulary
    )
    made = build_nano(tokenizer, shape, model.context_length, experiment.seed).to(trainer.device).eval()
    return LoadedModel(made, tokenizer, model, trainer.device, trainer.dtype)


def evaluate_held_out(
    experiment: Experiment, policy: LoadedModel, held_out: Sequence[EditTask], files: RunFiles, step: int, display: Display
) -> dict[str, float]:
    """The val/* metrics; the evaluation's files are written."""
    from gapo_cli.evaluation.baselines import measure_baselines
    from gapo_cli.evaluation.summary import summarise
    from gapo_cli.training.validation import select_tasks, validate

    engine = experiment.engine(policy=policy)
    predictions = validate(
        policy, engine, experiment.template, held_out, experiment.evaluation, experiment.sampling, experiment.seed, display.progress
    )
    summary = summarise(predictions)
    files.write_evaluation(step, predictions, summary, measure_baselines(select_tasks(held_out, experiment.evaluation.tasks)))
    return summary.metrics()
