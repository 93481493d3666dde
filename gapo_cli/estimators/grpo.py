"""GRPO: rewards centred on the group's mean, divided by its standard deviation. arXiv:2402.03300, section 4.1.2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.estimators.groups import Estimate, advantages_of, deviation, mean
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class GRPO:
    """advantage = (r - mean) / (std + 1e-6), std with ddof 1, as in verl."""

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        return advantages_of(rewards, self.estimate)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray | None) -> Estimate:
        centre = mean(ordered)
        return Estimate(centre, deviation(ordered, centre))
