"""Half exact match, half edit similarity: the default reward. arXiv:2510.21830, the reward `edem`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.edits import matching
from gapo_cli.records import EditTask
from gapo_cli.rewards.answers import score_answers


@dataclass(frozen=True)
class ExactMatchAndSimilarity:
    """Components: em, ed. A wrong answer scores less than 0.5, the right one 1, so nothing wrong comes near it."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        em = score_answers(matching.exact_matches, predictions, tasks)
        ed = score_answers(matching.edit_similarities, predictions, tasks)
        return {"em": em, "ed": ed, "score": (em + ed) / 2}
