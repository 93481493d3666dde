"""The part of `gapo eval` that answers perturbed tasks: which they are, how they are answered, what is written of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapo_cli.config.checks import require
from gapo_cli.config.sampling import EVERY
from gapo_cli.errors import DataError, UserError, batch_at_work, first_line
from gapo_cli.evaluation.predictions import Prediction, from_rows
from gapo_cli.evaluation.robustness import PerturbedPrediction, Robustness, measure_robustness
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.perturbations.calls import perturb
from gapo_cli.records import DoesNotApply, EditTask, Perturbed
from gapo_cli.runs.layout import INSPECTION, ROBUSTNESS, ROBUSTNESS_ANSWERS

if TYPE_CHECKING:
    from gapo_cli.reports.tables import Table

Answer = Callable[[Sequence[EditTask], str], Sequence[Prediction]]
"""(Tasks, what they are called) → a greedy answer to each."""


@dataclass(frozen=True)
class PerturbedTasks:
    """`changed`: perturbation → the tasks that it applies to, changed. `left_out`: perturbation → reason → how many it does not apply
    to."""

    changed: Mapping[str, Sequence[Perturbed]]
    left_out: Mapping[str, Mapping[str, int]]


def perturbed_tasks(experiment: Experiment, tasks: Sequence[EditTask], progress: Progress = no_progress) -> PerturbedTasks:
    """What `evaluation.robustness` asks for. Raises UserError for a perturbation that is named and applies to none of the tasks, and
    where none applies to any; PartError for one that fails."""
    require(experiment.evaluation.greedy, "perturbation: compares greedy answers; leave out evaluation.greedy=false")
    changed: dict[str, list[Perturbed]] = {}
    left_out: dict[str, Mapping[str, int]] = {}
    for done, (name, perturbation) in enumerate(experiment.perturbations.items()):
        progress("perturbing the tasks", done, len(experiment.perturbations))
        reasons: Counter[str] = Counter()
        for task in tasks:
            found = perturb(name, perturbation, task, experiment.evaluation.perturbation_seed)
            if isinstance(found, DoesNotApply):
                reasons[found.reason] += 1
            else:
                changed.setdefault(name, []).append(found)
        left_out[name] = dict(reasons)
        if name not in changed and EVERY not in experiment.evaluation.robustness:
            raise UserError(
                f"robustness={name}: applies to none of the {len(tasks)} tasks ({', '.join(reasons)}); leave it out, or evaluate on "
                "tasks that it applies to"
            )
    progress("perturbing the tasks", len(experiment.perturbations), len(experiment.perturbations))
    if not changed:
        raise UserError(
            f"robustness={EVERY}: no perturbation applies to any of the {len(tasks)} tasks; evaluate on other tasks"
        )
    return PerturbedTasks(changed, left_out)


def answer_perturbed(asked: PerturbedTasks, answer: Answer) -> list[PerturbedPrediction]:
    """The answers, perturbation by perturbation. Raises PartError, with all of them as its batch, for a perturbation that fails to
    read one back."""
    found = []
    for name, changed in asked.changed.items():
        predictions = {one.task_id: one for one in answer([one.task for one in changed], name)}
        found += [(one.restored, PerturbedPrediction(name, predictions[one.task.id], None)) for one in changed]
    with batch_at_work(lambda: [one for _, one in found]):
        return [
            one if one.prediction.region is None else replace(one, restored=restored(one.prediction.region))
            for restored, one in found
        ]


def keep_answers(run_dir: Path, clean: Sequence[Prediction], perturbed: Sequence[PerturbedPrediction]) -> Path:
    """Writes the answers of an evaluation that ends before they are measured, those to the tasks as they are under no name of a
    perturbation."""
    path = run_dir / INSPECTION / ROBUSTNESS_ANSWERS
    _write_answers(path, [*(PerturbedPrediction("", one, one.region) for one in clean), *perturbed])
    return path


def write_robustness(
    run_dir: Path,
    clean: Sequence[Prediction],
    perturbed: Sequence[PerturbedPrediction],
    temperature: float | None,
    left_out: Mapping[str, Mapping[str, int]],
) -> tuple[Robustness, Table, list[str]]:
    """Measures, and writes the numbers as JSON and every answer as parquet. Returns them, their table, and what is to be said."""
    from gapo_cli.reports.robustness_table import left_out_lines, robustness_table
    from gapo_cli.storage.files import write_json

    found = measure_robustness(clean, perturbed, temperature, left_out)
    _write_answers(run_dir / ROBUSTNESS_ANSWERS, perturbed)
    write_json(run_dir / ROBUSTNESS, found.to_dict())
    return found, robustness_table(found), left_out_lines(found)


def _write_answers(path: Path, answers: Sequence[PerturbedPrediction]) -> None:
    import pandas as pd

    from gapo_cli.storage.files import atomic_path

    rows = [{"perturbation": one.perturbation, "restored": one.restored, **asdict(one.prediction)} for one in answers]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)


@dataclass(frozen=True)
class Kept:
    """The answers to perturbed tasks that an evaluation has kept, and what its numbers say beside them."""

    answers: Sequence[PerturbedPrediction]
    temperature: float | None
    left_out: Mapping[str, Mapping[str, int]]


def read_kept(run_dir: Path) -> Kept | None:
    """None where the evaluation perturbed nothing. Raises UserError where its files cannot be read."""
    import json

    import pandas as pd

    path = run_dir / ROBUSTNESS_ANSWERS
    if not path.is_file():
        return None
    try:
        numbers = json.loads((run_dir / ROBUSTNESS).read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = pd.read_parquet(path).to_dict("records")
        answers = [
            PerturbedPrediction(row["perturbation"], prediction, row["restored"] if isinstance(row["restored"], str) else None)
            for row, prediction in zip(rows, from_rows(rows), strict=True)
        ]
        return Kept(answers, numbers["temperature"], numbers["left_out"])
    except (OSError, ValueError, KeyError, DataError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}); name another run") from error
