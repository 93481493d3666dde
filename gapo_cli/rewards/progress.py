"""Progress as the reward: how much nearer the answer comes to the target than the region was as it stood.

Edit similarity pays a copy of the region nearly as much as the right answer, where little changes. Here changing nothing earns
nothing, and the right answer 1, however long the region is: (s - c) / (1 - c), s being the similarity of the answer to the
target and c that of the region. Where the region is right as it stands, leaving it so earns 1 and any change 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.edits import matching
from gapo_cli.records import EditTask


@dataclass(frozen=True)
class Progress:
    """Components: progress, below 0 (to -1) where the answer is further off than the region was; the score is 0 there."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        pairs = list(zip(predictions, tasks, strict=True))
        found = [
            0.0 if prediction is None else max(gained(task.region, prediction, target) for target in task.targets)
            for prediction, task in pairs
        ]
        progress = np.array(found, dtype=np.float64)
        return {"progress": progress, "score": np.maximum(progress, 0.0)}


def gained(before: str, prediction: str, target: str) -> float:
    """In [-1, 1]."""
    copied = matching.edit_similarity(before, target)
    if matching.exact_match(prediction, target):
        return 1.0
    if copied == 1.0:
        return 0.0
    return max(-1.0, (matching.edit_similarity(prediction, target) - copied) / (1 - copied))
