"""RLOO: each reward less the mean of the other rewards of its group. arXiv:2402.14740."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.estimators.groups import Estimate, advantages_of, degrees_of_freedom, mean
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class RLOO:
    """advantage = r - (Σ - r) / (n - 1), which is (r - mean) * n / (n - 1): the baseline reported is the group's mean."""

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        return advantages_of(rewards, self.estimate)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray | None) -> Estimate:
        return Estimate(mean(ordered), degrees_of_freedom(ordered) / len(ordered))
