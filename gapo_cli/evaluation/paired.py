"""Two evaluations of the same tasks, paired: who is right where, how large the difference is, and whether it may be chance.

For greedy answers the four counts of the tasks are McNemar's table, and its exact test (McNemar 1947, with the binomial
distribution in place of chi-square) says how often a split at least as uneven among the tasks on which the two differ
would come by chance, were both equally good. Samples of a task are averaged first; for them there is only the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gapo_cli.errors import DataError
from gapo_cli.evaluation.predictions import MODES, Mode, Prediction
from gapo_cli.statistics.intervals import Measure, measure_differences


@dataclass(frozen=True, slots=True)
class Comparison:
    """`tasks`: how many both have answered; `only_this`, `only_other`: tasks that one of them lacks, which are left out.
    `this`, `other`: exact match (stripped) on the shared tasks, `difference` this minus other. For greedy answers:
    `both_right`, `this_right`, `other_right` (that one alone) and `neither_right` count tasks, `p_value` is the exact
    test's, two-sided; None for sampled ones."""

    tasks: int
    only_this: int
    only_other: int
    this: float
    other: float
    difference: Measure
    both_right: int | None = None
    this_right: int | None = None
    other_right: int | None = None
    neither_right: int | None = None
    p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def mcnemar_exact(first: int, second: int) -> float:
    """Two-sided p: the chance that `first + second` fair coins fall at least as unevenly; 1.0 where nothing differs."""
    from scipy.stats import binomtest

    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def compare(this: Iterable[Prediction], other: Iterable[Prediction], seed: int = 0) -> dict[Mode, Comparison]:
    """The comparison in each mode that both have. Raises DataError where they share no mode or no task of it, or where a
    task is not the same one in both (another region or target)."""
    this, other = list(this), list(other)
    check_same_tasks(this, other)
    found: dict[Mode, Comparison] = {}
    for mode in MODES:
        mine, theirs = exact_match_by_task(this, mode), exact_match_by_task(other, mode)
        if not mine or not theirs:
            continue
        shared = [task for task in mine if task in theirs]
        if not shared:
            raise DataError(f"none of the {len(mine)} tasks is among the {len(theirs)} that it is compared with")
        pairs = np.array([(mine[task], theirs[task]) for task in shared])
        counts: dict[str, Any] = {}
        if mode == "greedy":
            right = pairs == 1
            counts = {
                "both_right": int((right[:, 0] & right[:, 1]).sum()),
                "this_right": int((right[:, 0] & ~right[:, 1]).sum()),
                "other_right": int((~right[:, 0] & right[:, 1]).sum()),
                "neither_right": int((~right).all(axis=1).sum()),
            }
            counts["p_value"] = mcnemar_exact(counts["this_right"], counts["other_right"])
        found[mode] = Comparison(
            tasks=len(shared),
            only_this=len(mine) - len(shared),
            only_other=len(theirs) - len(shared),
            this=float(pairs[:, 0].mean()),
            other=float(pairs[:, 1].mean()),
            difference=measure_differences(pairs[:, 0] - pairs[:, 1], seed),
            **counts,
        )
    if not found:
        raise DataError("one has greedy answers only, the other sampled ones only: there is nothing to pair")
    return found


def check_same_tasks(this: Iterable[Prediction], other: Iterable[Prediction]) -> None:
    """Raises DataError for an id that stands for two different edits."""
    known = {one.task_id: (one.before, one.target) for one in other}
    for one in this:
        if known.get(one.task_id, (one.before, one.target)) != (one.before, one.target):
            raise DataError(f"task {one.task_id}: has another region or target there, so it is not the same task")


def exact_match_by_task(predictions: Iterable[Prediction], mode: Mode) -> dict[str, float]:
    """Task id → share of the task's answers in that mode that match (stripped); malformed answers do not."""
    found: dict[str, list[bool]] = {}
    for one in predictions:
        if one.mode == mode:
            found.setdefault(one.task_id, []).append(one.is_right)
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
