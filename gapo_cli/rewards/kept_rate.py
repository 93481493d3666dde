"""Kept rate as the reward: the share of what the answer types and deletes that is right (gapo_cli/edits/kept.py).

The rate alone is a precision: one right character earns as much as the whole edit. So the score is its harmonic mean with the
share of the right edit that the answer has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.edits.kept import Kept, kept
from gapo_cli.edits.patch_measures import ended
from gapo_cli.records import EditTask


@dataclass(frozen=True)
class KeptRate:
    """Components: kept_rate, kept_recall."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        best = [
            Kept(0.0, 0.0) if prediction is None else max((_kept(task, prediction, target) for target in task.targets), key=f1)
            for prediction, task in zip(predictions, tasks, strict=True)
        ]
        rates = np.array(best, dtype=np.float64).reshape(-1, 2)
        return {
            "kept_rate": rates[:, 0].copy(),
            "kept_recall": rates[:, 1].copy(),
            "score": np.array([f1(one) for one in best]),
        }


def _kept(task: EditTask, prediction: str, target: str) -> Kept:
    return kept(ended(task.region), ended(prediction), ended(target))


def f1(one: Kept) -> float:
    """0 where both are 0."""
    total = one.rate + one.recall
    return 2 * one.rate * one.recall / total if total else 0.0
