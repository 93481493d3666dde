"""Where pairs come from: the answers that a task rejects, and saved rollouts, best against worst of a group.

Pairs of rollouts are learnt from in the tokens that were sampled, so they must be of this model's tokenizer and of this prompt
template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.errors import DataError
from gapo_cli.interfaces import Progress, Template, no_progress
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.prompt_tokens import encode_texts
from gapo_cli.prompts import calls
from gapo_cli.records import EditTask, Group
from gapo_cli.rollouts.encoding import encode_tasks
from gapo_cli.runs.group_files import iterate_groups
from gapo_cli.runs.recorded import rollout_files
from gapo_cli.training.batches.examples import ended
from gapo_cli.training.batches.pairs import Pair


@dataclass(frozen=True, slots=True)
class Pairs:
    """What fits the context: `kept[n]` is of `tasks[n]`. `too_long`: how many pairs do not fit."""

    tasks: tuple[EditTask, ...]
    kept: tuple[Pair, ...]
    too_long: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """The best and the worst answer of a group by reward, as places in it; `difference` 0 where fewer than two have a reward."""

    group: Group
    best: int
    worst: int
    difference: float

    @classmethod
    def of(cls, group: Group) -> Contrast:
        """Of equal rewards the first; an answer without a reward is neither."""
        if np.count_nonzero(~np.isnan(group.rewards)) < 2:
            return cls(group, 0, 0, 0.0)
        best, worst = int(np.nanargmax(group.rewards)), int(np.nanargmin(group.rewards))
        return cls(group, best, worst, float(group.rewards[best] - group.rewards[worst]))


def encode_pairs(
    policy: LoadedModel,
    template: Template,
    tasks: Sequence[EditTask],
    config: PreferenceConfig,
    on_long: str = "stop",
    progress: Progress = no_progress,
    sampled: Sequence[Group] = (),
) -> Pairs:
    """The pairs of the training `tasks`, then those of the rollouts, as `config` asks, with pairs=sampled of the groups in
    `sampled`. Raises DataError where there is none, where
    rollouts are of another tokenizer or template, and, with `on_long` "stop", where one does not fit the context."""
    found: list[tuple[EditTask, Pair]] = []
    if config.from_rejected:
        found += rejected_pairs(policy, template, tasks, progress)
    contrasts: list[Contrast] = []
    if config.from_groups:
        contrasts = [Contrast.of(group) for group in (saved_groups(config) if config.from_rollouts else sampled)]
        found += rollout_pairs(policy, template, widest(contrasts, config), config, progress)
    if not found:
        raise no_pair(tasks, contrasts, config)
    return fitting(found, policy.config.context_length, on_long)


def rejected_pairs(
    policy: LoadedModel, template: Template, tasks: Sequence[EditTask], progress: Progress = no_progress
) -> list[tuple[EditTask, Pair]]:
    """The target against each rejected text; one that equals the target or another right answer makes no pair."""
    wanted = rejected_texts(tasks)
    with_pairs = list({task.id: task for task, _ in wanted}.values())
    prompts = {one.task.id: one.token_ids for one in encode_tasks(policy, template, with_pairs, progress)}
    chosen = encode_texts(policy.tokenizer, [calls.answer(template, task, task.target) for task, _ in wanted])
    rejected = encode_texts(policy.tokenizer, [calls.answer(template, task, text) for task, text in wanted])
    return [
        (task, Pair(prompts[task.id], ended(better, policy), ended(worse, policy)))
        for (task, _), better, worse in zip(wanted, chosen, rejected, strict=True)
    ]


def rejected_texts(tasks: Sequence[EditTask]) -> list[tuple[EditTask, str]]:
    """Each rejected text of a task that is no right answer to it."""
    return [(task, text) for task in tasks for text in task.rejected if text not in (task.target, *task.alternatives)]


def saved_groups(config: PreferenceConfig) -> list[Group]:
    return [group for file in rollout_files(Path(config.rollouts)) for group in iterate_groups(file)]


def widest(contrasts: Sequence[Contrast], config: PreferenceConfig) -> list[Contrast]:
    """Those that differ by the margin; of each task the `pairs_per_prompt` that differ most, in the order of the file."""
    by_task: dict[str, list[int]] = {}
    for place, one in enumerate(contrasts):
        if one.difference >= config.margin:
            by_task.setdefault(one.group.task.id, []).append(place)
    kept = [
        place
        for places in by_task.values()
        for place in sorted(places, key=lambda place: -contrasts[place].difference)[: config.pairs_per_prompt]
    ]
    return [contrasts[place] for place in sorted(kept)]


def rollout_pairs(
    policy: LoadedModel,
    template: Template,
    contrasts: Sequence[Contrast],
    config: PreferenceConfig,
    progress: Progress = no_progress,
) -> list[tuple[EditTask, Pair]]:
    """Raises DataError for a prompt that this model and template would have written otherwise, and for answers whose tokens are
    not known."""
    encoded = encode_tasks(policy, template, [one.group.task for one in contrasts], progress)
    found = []
    for contrast, expected in zip(contrasts, encoded, strict=True):
        group = contrast.group
        chosen, rejected = (group.completions[place].token_ids for place in (contrast.best, contrast.worst))
        if group.prompt_token_ids != expected.token_ids or not (chosen and rejected):
            raise DataError(
                f"dpo.rollouts={config.rollouts}: the answers to task {group.task.id} are not in tokens of this model's prompts; give "
                "the model= and prompt= that they were sampled with, or sample new ones with gapo rollout"
            )
        found.append((group.task, Pair(group.prompt_token_ids, chosen, rejected)))
    return found


def fitting(found: Sequence[tuple[EditTask, Pair]], context: int, on_long: str) -> Pairs:
    too_long = [(task, pair) for task, pair in found if pair.longest > context]
    kept = [(task, pair) for task, pair in found if pair.longest <= context]
    if too_long and (on_long == "stop" or not kept):
        task, pair = too_long[0]
        raise DataError(
            f"task {task.id}: its prompt of {len(pair.prompt)} tokens and the longer answer of its pair do not fit "
            f"model.context_length={context}; the same holds for {len(too_long)} of {len(found)} pairs; raise it to "
            f"{max(pair.longest for _, pair in too_long)}" + (", or leave them out with data.on_long=skip" if kept else "")
        )
    return Pairs(tuple(task for task, _ in kept), tuple(pair for _, pair in kept), len(too_long))


def no_pair(tasks: Sequence[EditTask], contrasts: Sequence[Contrast], config: PreferenceConfig) -> DataError:
    lacking = [no_rejected(tasks)] if config.from_rejected else []
    lacking += [no_margin(contrasts, config)] if config.from_groups else []
    return DataError(f"dpo.pairs={config.pairs}: {'; and '.join(lacking)}")


def no_rejected(tasks: Sequence[EditTask]) -> str:
    return (
        f"none of the {len(tasks)} training tasks has a rejected text that differs from its right answers; name a split that has "
        "some, as data=zeta data.train_split=dpo, or take pairs of the model's own answers by dpo.pairs=sampled"
    )


def no_margin(contrasts: Sequence[Contrast], config: PreferenceConfig) -> str:
    where = f"of dpo.rollouts={config.rollouts}" if config.from_rollouts else "that were sampled"
    if not contrasts:
        return f"there are no groups {where}; name another run, or sample answers with gapo rollout"
    more = "more answers with gapo rollout" if config.from_rollouts else "more by sampling.group_size or dpo.sampled_tasks"
    largest = max((one.difference for one in contrasts), default=0.0)
    return (
        f"in none of the {len(contrasts)} groups {where} do rewards differ by dpo.margin={config.margin}, the "
        f"largest difference is {largest:.3g}; lower dpo.margin, or sample {more}"
    )
