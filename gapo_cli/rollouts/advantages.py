"""Groups with the advantages that an estimator gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gapo_cli.errors import PartError, name_of, part_at_work
from gapo_cli.interfaces import Estimator
from gapo_cli.records import Advantages, Group


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
        found = estimator(rewards, lengths)
    name = name_of(estimator)
    if not isinstance(found, Advantages):
        raise PartError(f"estimator={name}: gives {type(found).__name__}; need gapo_cli.records.Advantages")
    shapes = {
        "advantages": (found.values, rewards.shape),
        **{what: (getattr(found, what), rewards.shape[:1]) for what in ("baseline", "low", "high")},
    }
    for what, (values, shape) in shapes.items():
        if np.shape(values) != shape:
            raise PartError(f"estimator={name}: gives {what} of shape {np.shape(values)}; need {shape}")
    if not np.isfinite(found.values).all():
        raise PartError(f"estimator={name}: gives an advantage that is not finite; need 0 for a missing reward")
    return found


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
