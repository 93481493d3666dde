"""Exact match as the reward: 1 for the right region, 0 for any other. arXiv:2510.21830, the reward `em`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.edits import matching
from gapo_cli.records import EditTask
from gapo_cli.rewards.answers import score_answers


@dataclass(frozen=True)
class ExactMatch:
    """Components: em."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        em = score_answers(matching.exact_matches, predictions, tasks)
        return {"em": em, "score": em.copy()}
