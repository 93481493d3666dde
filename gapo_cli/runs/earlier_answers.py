"""The answers that an earlier run left behind, to compare with: those of its last evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gapo_cli.errors import DataError, UserError, first_line
from gapo_cli.records import EditTask
from gapo_cli.runs.layout import EVALUATIONS, steps_in

if TYPE_CHECKING:
    from gapo_cli.evaluation.predictions import Mode, Prediction


def read_answers(run: Path, key: str = "against") -> tuple[Path, list[Prediction]]:
    """The file of the run's last evaluation and its predictions; `run` may also be such a file, to name another step. `key`:
    what the user named it by. Raises UserError where there is none or it cannot be read."""
    import pandas as pd

    from gapo_cli.evaluation.predictions import from_rows

    if run.is_file():
        path = run
    else:
        if not run.is_dir():
            raise UserError(f"{key}={run}: no such folder; name a run of gapo eval or gapo train, as outputs/eval/TIME")
        files = list(steps_in(run / EVALUATIONS, ".parquet").values())
        if not files:
            raise UserError(f"{key}={run}: has no predictions in {EVALUATIONS}/; name a run of gapo eval or gapo train")
        path = files[-1]
    try:
        return path, from_rows(pd.read_parquet(path).to_dict("records"))
    except (OSError, ValueError, DataError) as error:
        raise UserError(f"{key}={run}: {path.name} cannot be read ({first_line(error)}); name another run") from error


def check_overlap(run: str, earlier: Sequence[Prediction], tasks: Sequence[EditTask], modes: Sequence[Mode]) -> None:
    """Raises UserError if none of the tasks was answered there in one of the modes, or one of them was another task: before
    a model answers."""
    from gapo_cli.evaluation.paired import check_same_tasks
    from gapo_cli.evaluation.predictions import predicted_region

    known = {one.task_id for one in earlier if one.mode in modes}
    if not known:
        raise UserError(f"against={run}: has no {' or '.join(modes)} answers; name another run, or evaluate in its mode")
    if not any(task.id in known for task in tasks):
        raise UserError(
            f"against={run}: none of its {len(known)} tasks is among the {len(tasks)} of this evaluation; name a run on the same "
            "data and split"
        )
    try:
        check_same_tasks([predicted_region(task, "") for task in tasks], earlier)
    except DataError as error:
        raise UserError(f"against={run}: {error}; name a run on the same data") from error
