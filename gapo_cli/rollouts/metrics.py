"""What a rollout batch looks like in numbers, under the metric names of verl where it has one.

`critic/*` and `response_length/*` are over the batch that is learnt from, as in verl (there an advantage counts once a
token). `group/*_frac` of shapes and `reward/*` are over all groups sampled in the step, the ones that dynamic sampling
drops included: what the policy does, not what was selected from it. A group with fewer than two rewards has no shape and is in no
share; how many there are is a metric of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from gapo_cli import metric_names as names
from gapo_cli.edits.matching import exact_match
from gapo_cli.records import Completion, EditTask, Group
from gapo_cli.rollouts.collect import RolloutBatch
from gapo_cli.rollouts.scoring import SCORING_FAILED
from gapo_cli.statistics.reward_shapes import UNKNOWN, group_shapes, shape_shares


@dataclass(frozen=True, slots=True)
class GroupNumbers:
    """What the metrics read of one group, each (G,): a small part of it, so that a pool can be measured group by group.
    `advantages`: None before the estimator."""

    scores: np.ndarray
    rewards: np.ndarray
    advantages: np.ndarray | None
    components: Mapping[str, np.ndarray]
    lengths: np.ndarray
    cut: np.ndarray
    malformed: np.ndarray
    noop: np.ndarray
    noop_right: np.ndarray
    baseline: float
    width: float

    @classmethod
    def of(cls, group: Group) -> GroupNumbers:
        task = group.task
        noop = [is_noop(completion, task) for completion in group.completions]
        right = [left and exact_match(one.region, task.target) for one, left in zip(group.completions, noop, strict=True)]
        return cls(
            scores=group.scores,
            rewards=group.rewards,
            advantages=group.advantages,
            components=group.components,
            lengths=np.array([completion.length for completion in group.completions], dtype=np.float64),
            cut=np.array([completion.finish_reason == "length" for completion in group.completions]),
            malformed=np.array([completion.malformed is not None for completion in group.completions]),
            noop=np.array(noop),
            noop_right=np.array(right, dtype=np.float64),
            baseline=group.baseline,
            width=group.high - group.low,
        )


def rollout_metrics(batch: RolloutBatch) -> dict[str, float]:
    row = batch_metrics(map(GroupNumbers.of, batch.groups))
    row |= generated_metrics(map(GroupNumbers.of, batch.generated))
    row |= {
        names.GENERATED: float(len(batch.generated)),
        names.DROPPED: float(len(batch.dropped)),
        names.WAITING: float(batch.waiting),
        names.ROUNDS: float(batch.rounds),
    }
    return row | {f"{names.SECONDS}{name}": seconds for name, seconds in batch.seconds.items()}


def batch_metrics(groups: Iterable[GroupNumbers]) -> dict[str, float]:
    """Scores, advantages, baselines and lengths of groups that have advantages. A measure of which nothing is there
    (all scores missing, an estimator without interval) is left out."""
    groups = list(groups)
    lengths = np.concatenate([group.lengths for group in groups])
    rewards = np.stack([group.rewards for group in groups])
    advantages = np.stack([group.advantages for group in groups]).ravel()
    row = _mean_max_min(names.SCORE, np.stack([group.scores for group in groups]).ravel())
    row |= _mean_max_min(names.REWARDS, rewards.ravel())
    row |= _mean_max_min(names.ADVANTAGES, advantages)
    if lengths.any():
        row[names.MEAN_ADVANTAGE] = float(np.sum(advantages * lengths) / lengths.sum())
    row |= _mean_max_min(names.LENGTH, lengths)
    row[names.CUT] = float(np.mean(np.concatenate([group.cut for group in groups])))
    row[names.NEGATIVE] = float(np.mean(advantages < 0))
    present = ~np.isnan(rewards)
    means = np.sum(rewards, axis=1, where=present) / np.maximum(present.sum(axis=1), 1)
    row |= _mean(names.Q_MINUS_MEAN, np.array([group.baseline for group in groups]) - means)
    return row | _mean(names.WIDTH, np.array([group.width for group in groups]))


def generated_metrics(groups: Iterable[GroupNumbers]) -> dict[str, float]:
    """Reward components, missing rewards and reward shapes of all groups sampled in a step; nothing for no groups."""
    groups = list(groups)
    if not groups:
        return {}
    row: dict[str, float] = {}
    for name in groups[0].components:
        if name == SCORING_FAILED:
            row[names.FAILED] = float(sum(group.components[name].sum() for group in groups))
            continue
        row |= _mean(names.component(name), np.concatenate([group.components[name] for group in groups]))
    rewards = np.stack([group.rewards for group in groups])
    row[names.MISSING] = float(np.isnan(rewards).sum())
    row[names.MALFORMED] = float(np.mean(np.concatenate([group.malformed for group in groups])))
    row[names.NOOP] = float(np.mean(np.concatenate([group.noop for group in groups])))
    row[names.NOOP_RIGHT] = float(np.mean(np.concatenate([group.noop_right for group in groups])))
    shapes = group_shapes(rewards)
    row[names.NO_SHAPE] = float(np.sum(shapes == UNKNOWN))
    return row | {names.SHAPES[shape]: share for shape, share in shape_shares(shapes).items()}


def is_noop(completion: Completion, task: EditTask) -> bool:
    """The answer leaves the region as it stands."""
    return completion.region is not None and exact_match(completion.region, task.region)


def _mean_max_min(name: str, values: np.ndarray) -> dict[str, float]:
    present = values[~np.isnan(values)]
    if not len(present):
        return {}
    return {f"{name}/mean": float(present.mean()), f"{name}/max": float(present.max()), f"{name}/min": float(present.min())}


def _mean(name: str, values: np.ndarray) -> dict[str, float]:
    present = values[~np.isnan(values)]
    return {name: float(present.mean())} if len(present) else {}
