"""How much an evaluation changed exact match, task by task: two evaluations of the same tasks, paired."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gapo_cli import matching
from gapo_cli.evaluation.predictions import MODES, Mode, Prediction
from gapo_cli.evaluation.uncertainty import Measure, measure_differences


def exact_match_by_task(predictions: Iterable[Prediction], mode: Mode) -> dict[str, float]:
    """Task id → share of the task's answers in that mode that match (stripped); malformed answers do not."""
    found: dict[str, list[bool]] = {}
    for one in predictions:
        if one.mode == mode:
            found.setdefault(one.task_id, []).append(one.region is not None and matching.exact_match(one.region, one.target))
    return {task: float(np.mean(values)) for task, values in found.items()}


def paired_differences(before: Iterable[Prediction], after: Iterable[Prediction], seed: int = 0) -> dict[Mode, Measure]:
    """Exact match after minus before, of each mode that both have, over the tasks that both have: the mean of the
    tasks' differences with its bootstrap interval. Pairing takes out how hard the tasks are; samples of a task are
    averaged first."""
    before, after = list(before), list(after)
    differences: dict[Mode, Measure] = {}
    for mode in MODES:
        first, last = exact_match_by_task(before, mode), exact_match_by_task(after, mode)
        shared = [task for task in first if task in last]
        if shared:
            differences[mode] = measure_differences(np.array([last[task] - first[task] for task in shared]), seed)
    return differences
