"""What all rewards share: an answer that stands for no region scores 0 and is never compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Compare = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Predictions and targets of equal number → scores (N,)."""


def score_answers(compare: Compare, predictions: Sequence[str | None], targets: Sequence[str]) -> np.ndarray:
    """`compare` where there is a prediction, 0 where it is None: (N,) float64. Raises ValueError for unequal lengths."""
    pairs = list(zip(predictions, targets, strict=True))
    answered = [index for index, (prediction, _) in enumerate(pairs) if prediction is not None]
    scores = np.zeros(len(pairs))
    scores[answered] = compare([pairs[index][0] for index in answered], [pairs[index][1] for index in answered])
    return scores
