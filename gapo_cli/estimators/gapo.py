"""GAPO: rewards centred on the median of the group's densest part, divided by their spread around it.

arXiv:2510.21830, Algorithm 1: where most completions agree, there is the baseline Q; outliers and skew do not move it. What
is decided here and not there (groups of one, of equal rewards, with missing rewards) is said in `gapo_cli.estimators.groups`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.estimators.groups import Estimate, advantages_of, check_share, deviation, median, shortest_run
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class GAPO:
    """advantage = (r - Q) / (sqrt(Σ (r - Q)² / (n - 1)) + 1e-6), Q the median of H, H the shortest run of ceil(tau * n)
    rewards in order; low and high are its ends. Advantages of a group need not sum to 0. Raises UserError if tau is
    outside (0, 1]."""

    tau: float = 0.5

    def __post_init__(self) -> None:
        check_share("tau", self.tau)

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        return advantages_of(rewards, self.estimate)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray | None) -> Estimate:
        run = shortest_run(ordered, self.tau)
        centre = median(run)
        return Estimate(centre, deviation(ordered, centre), low=run[0], high=run[-1])
