"""What a rollout batch looks like in numbers, under the metric names of verl where it has one.

`critic/*` and `response_length/*` are over the batch that is learnt from, as in verl (there an advantage counts once a
token). `group/*_frac` of shapes and `reward/*` are over all groups sampled in the step, the ones that dynamic sampling
drops included: what the policy does, not what was selected from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gapo_cli.edits.matching import exact_match
from gapo_cli.records import Completion, EditTask, Group
from gapo_cli.rollouts.collect import RolloutBatch
from gapo_cli.statistics.reward_shapes import shape_shares


def rollout_metrics(batch: RolloutBatch) -> dict[str, float]:
    row = batch_metrics(batch.groups)
    row |= generated_metrics(batch.generated)
    row |= {
        "group/generated": float(len(batch.generated)),
        "group/dropped": float(len(batch.dropped)),
        "group/waiting": float(batch.waiting),
        "group/rounds": float(batch.rounds),
    }
    return row | {f"timing_s/{name}": seconds for name, seconds in batch.seconds.items()}


def batch_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Scores, advantages, baselines and lengths of groups that have advantages. A measure of which nothing is there
    (all scores missing, an estimator without interval) is left out."""
    completions = [completion for group in groups for completion in group.completions]
    lengths = np.array([completion.length for completion in completions], dtype=np.float64)
    rewards = np.stack([group.rewards for group in groups])
    advantages = np.stack([group.advantages for group in groups])
    flat = advantages.ravel()
    row = _mean_max_min("critic/score", np.stack([group.scores for group in groups]).ravel())
    row |= _mean_max_min("critic/rewards", rewards.ravel())
    row |= _mean_max_min("critic/advantages", flat)
    if lengths.any():
        row["critic/advantages/mean"] = float(np.sum(flat * lengths) / lengths.sum())
    row |= _mean_max_min("response_length", lengths)
    row["response_length/clip_ratio"] = float(np.mean([completion.finish_reason == "length" for completion in completions]))
    row["group/negative_adv_frac"] = float(np.mean(flat < 0))
    present = ~np.isnan(rewards)
    means = np.sum(rewards, axis=1, where=present) / np.maximum(present.sum(axis=1), 1)
    row |= _mean("group/q_minus_mean", np.array([group.baseline for group in groups]) - means)
    return row | _mean("group/hdi_width", np.array([group.high - group.low for group in groups]))


def generated_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Reward components, missing rewards and reward shapes of all groups sampled in a step; nothing for no groups."""
    if not groups:
        return {}
    row: dict[str, float] = {}
    for name in groups[0].components:
        row |= _mean(f"reward/{name}/mean", np.concatenate([group.components[name] for group in groups]))
    rewards = np.stack([group.rewards for group in groups])
    row["reward/missing"] = float(np.isnan(rewards).sum())
    row["reward/malformed_frac"] = float(
        np.mean([completion.malformed is not None for group in groups for completion in group.completions])
    )
    answers = [(completion, group.task) for group in groups for completion in group.completions]
    noops = [(completion, task) for completion, task in answers if is_noop(completion, task)]
    row["reward/noop_frac"] = len(noops) / len(answers)
    row["reward/noop_em/mean"] = sum(exact_match(completion.region, task.target) for completion, task in noops) / len(answers)
    return row | shape_metrics(shape_shares(rewards))


def is_noop(completion: Completion, task: EditTask) -> bool:
    """The answer leaves the region as it stands."""
    return completion.region is not None and exact_match(completion.region, task.region)


def shape_metrics(shares: Mapping[str, float]) -> dict[str, float]:
    row = {f"group/{name}_frac": share for name, share in shares.items() if name != "zero"}
    return row | {"group/zero_std_frac": shares["zero"]}


def _mean_max_min(name: str, values: np.ndarray) -> dict[str, float]:
    present = values[~np.isnan(values)]
    if not len(present):
        return {}
    return {f"{name}/mean": float(present.mean()), f"{name}/max": float(present.max()), f"{name}/min": float(present.min())}


def _mean(name: str, values: np.ndarray) -> dict[str, float]:
    present = values[~np.isnan(values)]
    return {name: float(present.mean())} if len(present) else {}
