"""Groups with the advantages that an estimator gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gapo_cli.errors import PartError, name_of, part_at_work
from gapo_cli.interfaces import Estimator
from gapo_cli.records import Advantages, Group
from gapo_cli.rollouts.part_numbers import real_numbers

LARGEST = float(np.finfo(np.float32).max)
"""The loss is computed in float32, where a larger advantage is infinite and no step could be made."""


def spread(scores: np.ndarray) -> float:
    """max - min of the scores that are there; 0 where fewer than two are."""
    present = scores[~np.isnan(scores)]
    return float(present.max() - present.min()) if len(present) > 1 else 0.0


def with_advantages(groups: Sequence[Group], estimator: Estimator) -> list[Group]:
    """The groups with advantages, baselines and intervals filled in. Raises PartError where the estimator fails, or gives
    something else than one finite advantage a completion; it names the first task whose group fails alone."""
    if not groups:
        return []
    rewards = np.stack([group.rewards for group in groups])
    lengths = np.array([[completion.length for completion in group.completions] for group in groups])
    try:
        found = _checked(estimator, rewards, lengths)
    except PartError as error:
        raise _of_one_task(error, groups, estimator, rewards, lengths) from error
    columns = zip(groups, found.values, found.baseline, found.low, found.high, strict=True)
    return [
        replace(group, advantages=values, baseline=float(baseline), low=float(low), high=float(high))
        for group, values, baseline, low, high in columns
    ]


def _checked(estimator: Estimator, rewards: np.ndarray, lengths: np.ndarray) -> Advantages:
    with part_at_work("estimator", estimator):
        return _checked_numbers(name_of(estimator), estimator(rewards, lengths), rewards.shape)


def _checked_numbers(name: str, found: Any, shape: tuple[int, ...]) -> Advantages:
    if not isinstance(found, Advantages):
        raise PartError(f"estimator={name}: gives {type(found).__name__}; need gapo_cli.records.Advantages")
    values = _numbers(name, "advantages", found.values, shape)
    if not np.isfinite(values).all():
        raise PartError(f"estimator={name}: gives an advantage that is not finite; need 0 for a missing reward")
    if (np.abs(values) > LARGEST).any():
        raise PartError(
            f"estimator={name}: gives an advantage of {values.flat[np.abs(values).argmax()]:g}; need what float32 can hold"
        )
    baseline, low, high = (_numbers(name, what, getattr(found, what), shape[:1]) for what in ("baseline", "low", "high"))
    if (low > high).any():  # NaN, where there is no interval, is neither
        row = int((low > high).argmax())
        raise PartError(f"estimator={name}: gives low {low[row]:g} above high {high[row]:g}; need an interval from low to high")
    return Advantages(values, baseline, low, high)


def _numbers(name: str, what: str, given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What an estimator gives as float64 of `shape`, NaN included. Raises PartError."""
    values = real_numbers(given, f"estimator={name}: gives {what} that are")
    if values.shape != shape:
        raise PartError(f"estimator={name}: gives {what} of shape {values.shape}; need {shape}")
    if np.isinf(values).any() and what != "advantages":
        raise PartError(f"estimator={name}: gives {what} that is infinite; need a finite number, or NaN for none")
    return values


def _of_one_task(
    error: PartError, groups: Sequence[Group], estimator: Estimator, rewards: np.ndarray, lengths: np.ndarray
) -> PartError:
    """The error, of the first task whose group fails alone; with all groups as its batch."""
    for index, group in enumerate(groups):
        try:
            _checked(estimator, rewards[index : index + 1], lengths[index : index + 1])
        except PartError as own:
            return own.about(f"task {group.task.id}", groups)
    return error.about(f"tasks {groups[0].task.id} to {groups[-1].task.id}, which pass alone", groups)
