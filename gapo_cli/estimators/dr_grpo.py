"""Dr. GRPO: rewards centred on the group's mean, not divided. arXiv:2503.20783, section 3.2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.estimators.groups import Estimate, advantages_of, mean
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class DrGRPO:
    """advantage = r - mean. The paper's other half, a constant divisor of the loss, is algorithm.aggregation=constant."""

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        return advantages_of(rewards, self.estimate)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray | None) -> Estimate:
        return Estimate(mean(ordered), 1.0)
