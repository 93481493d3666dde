"""Rewards that lie: each one is replaced with some probability, as a flaky test, a crashed judge or a hacked check would.

The claim that robust advantages withstand outliers (arXiv:2510.21830) is tested with them, in the lab on saved rewards and in
training. What is drawn comes in as uniform numbers, so that a higher probability corrupts the same completions and more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapo_cli.config.checks import one_of, require

KINDS = ("flip", "uniform", "zero", "one")


def check_kind(key: str, kind: str) -> None:
    """Raises UserError, which names the `key` that was typed."""
    one_of(key, kind, KINDS)


def check_probability(key: str, probability: float) -> None:
    """Raises UserError, which names the `key` that was typed."""
    require(0 <= probability <= 1, f"{key}={probability}: need 0 to 1")


@dataclass(frozen=True)
class Corruption:
    """Each reward is replaced with chance `probability`: "flip" by 1 - r, "uniform" by a number from [0, 1], "zero" by 0 (a run
    that failed), "one" by 1 (a lucky or hacked answer). Raises UserError for another kind, or a probability outside [0, 1]."""

    kind: str
    probability: float

    def __post_init__(self) -> None:
        check_kind("reward.corruption.kind", self.kind)
        check_probability("reward.corruption.probability", self.probability)

    def chosen(self, draws: np.ndarray) -> np.ndarray:
        """Which rewards are replaced, from uniform draws of their shape."""
        return draws < self.probability

    def apply(self, rewards: np.ndarray, draws: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The rewards as they are seen; `draws` choose, `values` are what "uniform" puts there, both uniform, of the rewards'
        shape. A missing reward (NaN) stays missing."""
        replacements = {"flip": 1 - rewards, "uniform": values, "zero": np.zeros_like(rewards), "one": np.ones_like(rewards)}
        return np.where(self.chosen(draws) & ~np.isnan(rewards), replacements[self.kind], rewards)
