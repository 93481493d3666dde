"""GAPO with the mean of the densest part as Q: the ablation "mean, div" of arXiv:2510.21830."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.estimators.groups import Estimate, advantages_of, check_share, deviation, mean, shortest_run
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class GAPOMean:
    """As GAPO, with Q the mean of H and the spread taken around that Q. Raises UserError if tau is outside (0, 1]."""

    tau: float = 0.5

    def __post_init__(self) -> None:
        check_share("tau", self.tau)

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        return advantages_of(rewards, self.estimate)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray | None) -> Estimate:
        run = shortest_run(ordered, self.tau)
        centre = mean(run)
        return Estimate(centre, deviation(ordered, centre), low=run[0], high=run[-1])
