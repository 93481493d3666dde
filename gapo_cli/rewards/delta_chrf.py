"""Delta-chrF as the reward: how well the characters agree that the edit adds and removes (gapo_cli/edits/delta_chrf.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.config.checks import one_of
from gapo_cli.edits.delta_chrf import CONSTANTS, NEWEST, delta_chrf
from gapo_cli.edits.patch_measures import ended
from gapo_cli.records import EditTask
from gapo_cli.rewards.answers import score_edits


@dataclass(frozen=True)
class DeltaChrf:
    """Components: delta_chrf. `constants`: the name of its definition."""

    constants: str = NEWEST

    def __post_init__(self) -> None:
        one_of("reward.constants", self.constants, tuple(CONSTANTS))

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        chosen = CONSTANTS[self.constants]
        found = score_edits(
            lambda before, prediction, target: delta_chrf(ended(before), ended(prediction), ended(target), chosen),
            predictions,
            tasks,
        )
        return {"delta_chrf": found, "score": found.copy()}
