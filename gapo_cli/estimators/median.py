"""The whole group's median as the baseline: what GAPO amounts to at tau = 1, without an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.estimators.groups import Estimate, advantages_of, deviation, median
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class Median:
    """advantage = (r - median) / (sqrt(Σ (r - median)² / (n - 1)) + 1e-6)."""

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        return advantages_of(rewards, self.estimate)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray | None) -> Estimate:
        centre = median(ordered)
        return Estimate(centre, deviation(ordered, centre))
