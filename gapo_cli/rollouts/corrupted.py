"""Training rewards that are made to lie, so that robust advantages can be tested in training. Evaluation never comes here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gapo_cli.config.corruption import Corruption
from gapo_cli.records import Group

CORRUPTED = "corrupted"
"""The component that says which rewards were replaced: 1 or 0."""
STREAM = 1
"""Keeps these draws apart from those that sample the prompt's completions."""


def corrupted(group: Group, corruption: Corruption, seed: int) -> Group:
    """The group with some of its scores and rewards replaced, seeded by completion: the i-th of a prompt with this seed is replaced in
    every run, whatever it says.
    The reward's own components stay as they are."""
    generator = np.random.default_rng([seed, STREAM])
    draws, values = generator.random((2, len(group.scores)))
    scores = corruption.apply(group.scores, draws, values)
    marks = corruption.chosen(draws).astype(np.float64)
    return replace(group, scores=scores, rewards=scores, components={**group.components, CORRUPTED: marks})
