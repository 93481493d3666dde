"""What all rewards share: an answer that stands for no region scores 0 and is never compared, and of several acceptable
targets the one that it scores best against counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from gapo_cli.records import EditTask

Compare = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Predictions and targets of equal number → scores (N,)."""
CompareEdit = Callable[[str, str, str], float]
"""The region as it stood, as predicted and as it should be → a score."""


def score_answers(compare: Compare, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> np.ndarray:
    """The best of `compare` over each task's targets, 0 where the prediction is None: (N,) float64. One call for all pairs.
    Raises ValueError for unequal lengths."""
    places, answered, targets = [], [], []
    for place, (prediction, task) in enumerate(zip(predictions, tasks, strict=True)):
        for target in task.targets if prediction is not None else ():
            places.append(place)
            answered.append(prediction)
            targets.append(target)
    scores = np.zeros(len(predictions))
    if places:
        # a NaN is no better than any number, and stays where there is nothing else
        np.fmax.at(scores, places, compare(answered, targets))
    return scores


def score_edits(compare: CompareEdit, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> np.ndarray:
    """As `score_answers`, for what depends on the region as it stood. Equal answers to a task are compared once."""
    compared = cache(compare)
    return np.array(
        [
            0.0 if prediction is None else max(compared(task.region, prediction, target) for target in task.targets)
            for prediction, task in zip(predictions, tasks, strict=True)
        ],
        dtype=np.float64,
    )
