"""Sentence BLEU as the reward; `gapo_cli.edits.matching.bleu` says over which words. arXiv:2510.21830, the reward `bleu`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.edits import matching
from gapo_cli.records import EditTask
from gapo_cli.rewards.answers import score_answers


@dataclass(frozen=True)
class Bleu:
    """Components: bleu."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        bleu = score_answers(matching.bleus, predictions, tasks)
        return {"bleu": bleu, "score": bleu.copy()}
