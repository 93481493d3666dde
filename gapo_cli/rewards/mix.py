"""A weighted sum of rewards. Each part's score is a component of its own.

With `normalise`, each part's scores are first standardised within the answers to one task: a part that hardly varies then weighs as
much as its weight says, and one that does not vary at all does not count (GDPO, arXiv:2601.05242). The score is then not
in [0, 1] but around 0, which estimators that subtract a group's mean or median do not mind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from gapo_cli.config.checks import require
from gapo_cli.errors import did_you_mean
from gapo_cli.interfaces import Reward
from gapo_cli.records import EditTask


@dataclass(frozen=True)
class Mix:
    """`parts`: name → what makes a reward; those without a weight are not made. `weights`: name → a number; the score is
    divided by their sum. Components: one of each part's name, which is its score."""

    parts: Mapping[str, Callable[[], Reward]]
    weights: Mapping[str, float]
    normalise: bool = False
    made: Mapping[str, Reward] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            near = did_you_mean(name, self.parts) or f"there are {', '.join(self.parts)}"
            require(name in self.parts, f"reward.weights.{name}: no such part; {near}")
            require(is_weight(weight), f"reward.weights.{name}={weight}: need a number of 0 or more")
        used = {name: weight for name, weight in self.weights.items() if weight}
        require(bool(used), "reward.weights: all are 0; need one above 0")
        require("score" not in used, "reward.parts.score: is the sum's own name; give the part another")
        object.__setattr__(self, "made", {name: self.parts[name]() for name in used})

    @property
    def unbounded(self) -> bool:
        """As `gapo_cli.interfaces.UnboundedReward`."""
        return self.normalise

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        scores = {name: np.asarray(part(predictions, tasks)["score"], dtype=np.float64) for name, part in self.made.items()}
        weighed = {name: standardised(found, tasks) for name, found in scores.items()} if self.normalise else scores
        total = sum(self.weights[name] for name in self.made)
        score = sum((self.weights[name] / total * found for name, found in weighed.items()), np.zeros(len(predictions)))
        return {**scores, "score": score}


def is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def standardised(scores: np.ndarray, tasks: Sequence[EditTask]) -> np.ndarray:
    """Minus the mean and by the standard deviation of the answers to the same task, which stand together; 0 where they all
    score the same. A missing score (NaN) stays missing and does not count."""
    found, start = np.zeros(len(scores)), 0
    for _, group in groupby(task.id for task in tasks):
        end = start + len(list(group))
        own = scores[start:end]
        known = own[~np.isnan(own)]
        spread = known.std() if len(known) else 0.0
        found[start:end] = np.where(np.isnan(own), np.nan, (own - known.mean()) / spread if spread > 0 else 0.0)
        start = end
    return found
