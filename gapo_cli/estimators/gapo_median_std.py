"""GAPO divided by the standard deviation around the mean: the ablation "median, std" of arXiv:2510.21830."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.estimators.groups import Estimate, advantages_of, check_share, deviation, mean, median, shortest_run
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class GAPOMedianStd:
    """As GAPO, with GRPO's divisor, std around the mean, ddof 1. Raises UserError if tau is outside (0, 1]."""

    tau: float = 0.5

    def __post_init__(self) -> None:
        check_share("tau", self.tau)

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        return advantages_of(rewards, self.estimate)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray | None) -> Estimate:
        run = shortest_run(ordered, self.tau)
        return Estimate(median(run), deviation(ordered, mean(ordered)), low=run[0], high=run[-1])
