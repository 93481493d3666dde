"""Edit similarity as the reward: how much of the region is right. arXiv:2510.21830, the reward `ed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.edits import matching
from gapo_cli.records import EditTask
from gapo_cli.rewards.answers import score_answers


@dataclass(frozen=True)
class EditSimilarity:
    """Components: ed."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        ed = score_answers(matching.edit_similarities, predictions, tasks)
        return {"ed": ed, "score": ed.copy()}
