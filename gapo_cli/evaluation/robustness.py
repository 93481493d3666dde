"""How much of a model's exact match is left when its tasks are perturbed, and whether its answers stay the same.

After RobustVLA (arXiv:2511.01331), whose observation noise is here what an editor varies (gapo_cli/perturbations). Greedy answers
only. A perturbation does not apply to every task, so each number stands beside the unperturbed one on the same tasks, and the
difference of the two is what may be compared between perturbations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gapo_cli.errors import DataError
from gapo_cli.evaluation.paired import exact_match_by_task
from gapo_cli.evaluation.predictions import Prediction
from gapo_cli.statistics.intervals import Measure, measure_differences, measure_means, wilson


@dataclass(frozen=True, slots=True)
class PerturbedPrediction:
    """A greedy answer to a task under a perturbation. `restored`: its region read as an answer to the unperturbed task, None for a
    malformed one."""

    perturbation: str
    prediction: Prediction
    restored: str | None


@dataclass(frozen=True, slots=True)
class OnSameTasks:
    """Over the `tasks` that are perturbed: exact match of the perturbed and of the `clean` answers to the same tasks, the `drop` from
    one to the other (bootstrap over tasks), and the share of tasks whose answer is the `same` (compared stripped, as exact match is;
    a malformed answer is never the same)."""

    tasks: int
    exact_match: Measure
    clean: Measure
    drop: Measure
    same: Measure


@dataclass(frozen=True, slots=True)
class Robustness:
    """`clean`: exact match of the `tasks` as they are. `under`: by perturbation. `worst`: a task counts as right where it is right as
    it is and under every perturbation that applies to it; over the tasks that any applies to; its `same` is the consistency, the
    share of tasks with one answer under all. `sampled`: of answers drawn at `temperature` in place of greedy ones, the noise of an
    answer instead of a prompt; over all tasks; None where none were drawn. `left_out`: perturbation → reason → tasks that it does not
    apply to."""

    tasks: int
    clean: Measure
    under: Mapping[str, OnSameTasks]
    worst: OnSameTasks
    sampled: OnSameTasks | None = None
    temperature: float | None = None
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def measure_robustness(
    clean: Sequence[Prediction],
    perturbed: Sequence[PerturbedPrediction],
    temperature: float | None = None,
    left_out: Mapping[str, Mapping[str, int]] | None = None,
    seed: int = 0,
) -> Robustness:
    """`clean`: the answers to the tasks as they are, sampled ones too where there are any. Raises DataError where a perturbed task has
    no greedy answer as it is, or none is perturbed."""
    right = exact_match_by_task(clean, "greedy")
    regions = {one.task_id: one.region for one in clean if one.mode == "greedy"}
    by_name: dict[str, list[PerturbedPrediction]] = {}
    for one in perturbed:
        if one.prediction.task_id not in right:
            raise DataError(f"task {one.prediction.task_id}: has an answer under {one.perturbation} and none as it is")
        by_name.setdefault(one.perturbation, []).append(one)
    if not by_name:
        raise DataError("no task is perturbed: there is no robustness to measure")
    worst: dict[str, tuple[bool, bool]] = {}
    under = {}
    for name, answers in by_name.items():
        found = {
            one.prediction.task_id: (one.prediction.is_right, _same(one.restored, regions[one.prediction.task_id]))
            for one in answers
        }
        under[name] = _on_same_tasks(found, right, seed)
        for task, (is_right, same) in found.items():
            before = worst.get(task, (bool(right[task]), True))
            worst[task] = (before[0] and is_right, before[1] and same)
    return Robustness(
        tasks=len(right),
        clean=wilson(int(sum(right.values())), len(right)),
        under=under,
        worst=_on_same_tasks(worst, right, seed),
        sampled=_sampled(clean, right, seed),
        temperature=temperature if any(one.mode == "sampled" for one in clean) else None,
        left_out=left_out or {},
    )


def _same(restored: str | None, region: str | None) -> bool:
    return restored is not None and region is not None and restored.strip() == region.strip()


def _on_same_tasks(found: Mapping[str, tuple[bool, bool]], right: Mapping[str, float], seed: int) -> OnSameTasks:
    """`found`: task → whether it is right, and the same."""
    now = np.array([is_right for is_right, _ in found.values()], dtype=np.float64)
    before = np.array([right[task] for task in found])
    count = len(found)
    return OnSameTasks(
        tasks=count,
        exact_match=wilson(int(now.sum()), count),
        clean=wilson(int(before.sum()), count),
        drop=measure_differences(before - now, seed),
        same=wilson(sum(same for _, same in found.values()), count),
    )


def _sampled(clean: Sequence[Prediction], right: Mapping[str, float], seed: int) -> OnSameTasks | None:
    drawn = exact_match_by_task(clean, "sampled")
    shared = [task for task in right if task in drawn]
    if not shared:
        return None
    regions = {one.task_id: one.region for one in clean if one.mode == "greedy"}
    same: dict[str, list[bool]] = {}
    for one in clean:
        if one.mode == "sampled":
            same.setdefault(one.task_id, []).append(_same(one.region, regions.get(one.task_id)))
    columns = np.array([(drawn[task], right[task], np.mean(same[task])) for task in shared])
    exact, _, alike = measure_means(columns, seed)
    return OnSameTasks(
        tasks=len(shared),
        exact_match=exact,
        clean=wilson(int(columns[:, 1].sum()), len(shared)),
        drop=measure_differences(columns[:, 1] - columns[:, 0], seed),
        same=alike,
    )
