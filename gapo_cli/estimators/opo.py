"""OPO: rewards less their mean weighted by completion length, the baseline of least gradient variance. arXiv:2505.23585."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.errors import UserError
from gapo_cli.estimators.groups import Estimate, advantages_of
from gapo_cli.records import Advantages


@dataclass(frozen=True)
class OPO:
    """advantage = r - Σ length·r / Σ length, not divided. Raises UserError without lengths, or where one is not above 0."""

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
        if lengths is None:
            raise UserError(
                "estimator=opo weighs rewards by completion length and got no lengths: give tokens a completion, (B, G)"
            )
        if not np.all(np.asarray(lengths) > 0):
            raise UserError(f"estimator=opo got a completion length of {np.min(lengths)}: need at least 1 token each")
        return advantages_of(rewards, self.estimate, lengths)

    def estimate(self, ordered: np.ndarray, lengths: np.ndarray) -> Estimate:
        return Estimate((lengths * ordered).sum(axis=0) / lengths.sum(axis=0), 1.0)
