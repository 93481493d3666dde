"""Quantile advantage estimation: rewards centred on a quantile of their group. arXiv:2509.22611."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.estimators.groups import Estimate, advantages_of, check_share, deviation, mean, share_of
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class Quantile:
    """advantage = (r - Q) / (std + 1e-6), Q the smallest reward that a share `quantile` of the group does not exceed, std
    around the mean, ddof 1. So Q is always a reward of the group: of right and wrong answers, Q is "right" where more than
    1 - quantile of them are right, and "wrong" otherwise. Raises UserError if quantile is outside (0, 1]."""

    quantile: float = 0.4

    def __post_init__(self) -> None:
        check_share("quantile", self.quantile)

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        return advantages_of(rewards, self.estimate)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray | None) -> Estimate:
        baseline = ordered[share_of(self.quantile, len(ordered)) - 1]
        return Estimate(baseline, deviation(ordered, mean(ordered)))
