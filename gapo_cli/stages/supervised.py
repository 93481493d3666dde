"""gapo train stage=sft: supervised training on an edit log, of a model that is loaded or one that is made from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gapo_cli.config import require
from gapo_cli.interfaces import Display, Experiment
from gapo_cli.records import EditTask
from gapo_cli.stages.prepare import load_tasks
from gapo_cli.stages.run_setup import set_up_run

if TYPE_CHECKING:
    from gapo_cli.models.load import LoadedModel
    from gapo_cli.training.run_files import RunFiles

FINAL = "final"
RECORD = "supervised.json"


@dataclass(frozen=True)
class SupervisedRun:
    """Where a supervised run's things are, and its val/* metrics before (step 0) and after training."""

    run_dir: Path
    checkpoint: Path
    first: Mapping[str, float]
    last: Mapping[str, float]


class RecordingDisplay:
    """A Display that also writes the metrics into the run's metrics.jsonl."""

    def __init__(self, display: Display, files: RunFiles) -> None:
        self.progress, self.say = display.progress, display.say
        self.display, self.files = display, files

    def metrics(self, row: Mapping[str, float]) -> None:
        self.files.append_metrics(row)
        self.display.metrics(row)


def train_supervised(experiment: Experiment, display: Display) -> SupervisedRun:
    """Evaluates, trains for `supervised.tokens`, evaluates again. The model lies in checkpoints/final and, in bfloat16,
    where `supervised.save_as` says. Raises UserError for resume=, which this stage does not know."""
    require(experiment.resume is None, f"resume={experiment.resume}: stage=sft cannot be resumed; start it anew")
    # torch only from here on: a wrong setting is answered at once
    from gapo_cli.files import write_json
    from gapo_cli.models.load import save_model
    from gapo_cli.models.saving import save_plain
    from gapo_cli.training.checkpoints import FOLDER
    from gapo_cli.training.run_files import RunFiles
    from gapo_cli.training.supervised import fit

    run_dir = experiment.run_dir
    tasks = load_tasks(experiment, experiment.data.train_split, display)
    held_out = load_tasks(experiment, experiment.evaluation.split, display)
    set_up_run(experiment, run_dir)
    policy = load_or_make(experiment, tasks)
    files = RunFiles(run_dir)
    recorder = RecordingDisplay(display, files)
    first = {"step": 0, "time_s": 0.0, **evaluate_held_out(experiment, policy, held_out, files, 0, display)}
    recorder.metrics(first)
    result = fit(policy, tasks, experiment.template, experiment.supervised, experiment.seed, recorder)
    measured = evaluate_held_out(experiment, policy, held_out, files, result.steps, display)
    last = {"step": result.steps, "time_s": result.seconds, **measured}
    recorder.metrics(last)
    checkpoint = run_dir / FOLDER / FINAL
    save_model(policy, checkpoint)
    write_json(run_dir / RECORD, {"settings": asdict(experiment.supervised), **asdict(result)})
    if experiment.supervised.save_as:
        save_plain(policy, Path(experiment.supervised.save_as), "bfloat16")
        display.say(f"saved in bfloat16: {experiment.supervised.save_as}")
    return SupervisedRun(run_dir, checkpoint, first, last)


def load_or_make(experiment: Experiment, tasks: Sequence[EditTask]) -> LoadedModel:
    """The model at `model.path`, or, with `supervised.architecture`, a new one whose tokenizer is trained on the tasks'
    prompts and answers."""
    from gapo_cli.models.load import LoadedModel, load_model
    from gapo_cli.models.nano import build_nano
    from gapo_cli.models.nano_tokenizer import train_tokenizer

    model, trainer, shape = experiment.model, experiment.trainer, experiment.supervised.architecture
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
