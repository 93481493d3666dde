"""How a model edits, beside whether it is right: what it keeps, what it takes back, when it fires and when it is silent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gapo_cli.evaluation.predictions import Mode, Prediction
from gapo_cli.evaluation.scores import Scores
from gapo_cli.statistics.intervals import Measure, measure_differences, measure_means, wilson

SHARES: dict[str, Callable[[Prediction, Scores], bool | None]] = {
    "edits_unwanted": lambda one, _: one.edits if one.wants_silence else None,
    "silence_where_wanted": lambda one, _: not one.edits if one.wants_edit else None,
    "wrong_region": lambda _, scores: scores.wrong_region,
    "isolated_blanks": lambda _, scores: scores.isolated_blanks,
    "cursor_exact": lambda _, scores: None if scores.cursor_distance is None else scores.cursor_distance == 0,
}
"""Name → whether an answer has it, None for an answer that the share does not count."""
MEANS = ("kept_rate", "kept_recall", "reversal_ratio")
OTHERS = ("exact_lines_f1", "cursor_distance")
BEHAVIOUR = (*SHARES, *MEANS, *OTHERS)


def behaviour(
    predictions: Sequence[Prediction], scores: Sequence[Scores], task_of: np.ndarray, mode: Mode, seed: int
) -> dict[str, Measure]:
    """Each of BEHAVIOUR. A task's samples are averaged first; shares of greedy answers have Wilson's interval, the other
    measures a bootstrap over tasks. `exact_lines_f1` pools the lines of all answers and has none."""
    found: dict[str, Measure] = {}
    for name, holds in SHARES.items():
        values = [holds(one, own) for one, own in zip(predictions, scores, strict=True)]
        means = _task_means(values, task_of)
        found[name] = wilson(float(means.sum()), len(means)) if mode == "greedy" else measure_means(means[:, None], seed)[0]
    columns = [_task_means([getattr(one, name) for one in scores], task_of) for name in MEANS]
    found |= dict(zip(MEANS, measure_means(np.stack(columns, axis=1), seed), strict=True))
    right, wrong, missed = (sum(getattr(one.lines, name) for one in scores) for name in ("right", "wrong", "missed"))
    total = 2 * right + wrong + missed
    found["exact_lines_f1"] = Measure(2 * right / total) if total else Measure()
    distances = _task_means([one.cursor_distance for one in scores], task_of)
    found["cursor_distance"] = measure_differences(distances, seed)
    return found


def sizes(predictions: Sequence[Prediction], scores: Sequence[Scores]) -> dict[str, int]:
    """How many tasks want an edit, and silence; how many answers are right by another target than the first."""
    return {
        "tasks_that_want_an_edit": len({one.task_id for one in predictions if one.wants_edit}),
        "tasks_that_want_silence": len({one.task_id for one in predictions if one.wants_silence}),
        "right_by_an_alternative": sum(one.exact_match and one.best > 0 for one in scores),
    }


def _task_means(values: Sequence[float | None], task_of: np.ndarray) -> np.ndarray:
    """The mean of the values of each task that has any."""
    kept = [place for place, value in enumerate(values) if value is not None]
    tasks, rows = np.unique(task_of[kept], return_inverse=True)
    sums = np.bincount(rows, weights=np.array([values[place] for place in kept], dtype=np.float64), minlength=len(tasks))
    return sums / np.bincount(rows, minlength=len(tasks)) if len(tasks) else np.empty(0)
