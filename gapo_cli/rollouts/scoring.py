"""What completions earn: a reward's components, checked, and the length penalty on the score. Here alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gapo_cli.config.algorithm import OverlongConfig
from gapo_cli.errors import PartError, name_of, part_at_work, shown_line
from gapo_cli.interfaces import Reward, UnboundedReward
from gapo_cli.records import EditTask, Group
from gapo_cli.rollouts.overlong import overlong_penalty
from gapo_cli.rollouts.part_numbers import real_numbers
from gapo_cli.rollouts.sampling import Sampled, unscored

SCORING_FAILED = "scoring_failed"
"""The component that says, with reward.on_error=missing, for which answers the reward failed: 1 or 0."""
COMPONENT_NAME = re.compile(r"[\w.-]+")
ROUNDING = 1e-9
"""So far beyond 0 or 1 a score may lie: a weighted mean of ones may not be exactly 1."""


@dataclass
class Failures:
    """reward.on_error=missing: an answer on which the reward fails has a missing reward. `say` is told of the first."""

    say: Callable[[str], None]
    said: bool = False

    def tell(self, error: PartError, outcome: str) -> None:
        if not self.said:
            self.say(f"warning: {error}; {outcome}; further failures are only counted (reward/failed)")
            self.said = True


def failures_of(on_error: str, say: Callable[[str], None]) -> Failures | None:
    """What `reward.on_error` asks for; None: the first failure ends the run."""
    return Failures(say) if on_error == "missing" else None


def score(sampled: Sequence[Sampled], reward: Reward, failures: Failures | None = None) -> list[Group]:
    """All completions scored in one call. `rewards` of the groups equal their `scores`: no length penalty yet. A NaN
    stays NaN. Where the reward fails, the tasks are scored one by one. Raises PartError, with the groups as its batch, for the
    first that fails alone; with `failures`, only where the reward fails on every answer."""
    try:
        components = components_of(reward, *_asked(sampled))
    except PartError as error:
        if failures is None:
            raise _of_one_task(error, sampled, reward) from error
        components = _where_it_works(error, sampled, reward, failures)
    else:
        if failures is not None:
            components[SCORING_FAILED] = np.zeros(len(components["score"]))
    groups, start = [], 0
    for one in sampled:
        end = start + len(one.completions)
        own = {name: values[start:end] for name, values in components.items()}
        groups.append(Group(one.task, one.prompt_token_ids, one.completions, own, own["score"], own["score"]))
        start = end
    return groups


def components_of(reward: Reward, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
    """The reward's components as float64 (N,). Raises PartError where the reward raises, where they are no numbers or infinite,
    where "score" is not among them or leaves [0, 1], where a component has not one number a completion, or a name that no column
    and no metric can have."""
    name = name_of(reward)
    with part_at_work("reward", reward):  # what it gives may be computed as it is read
        given = reward(predictions, tasks)
        if not isinstance(given, Mapping):
            raise PartError(f"reward={name}: gives {type(given).__name__}; need scores by the name of their component")
        components = {
            _named(name, key): real_numbers(values, f"reward={name}: component {key} is") for key, values in given.items()
        }
    if "score" not in components:
        raise PartError(f"reward={name}: gives {', '.join(map(str, components)) or 'nothing'}; need a component named score")
    for key, values in components.items():
        if values.shape != (len(predictions),):
            raise PartError(
                f"reward={name}: component {key} has shape {values.shape}; need one number for each of the "
                f"{len(predictions)} completions"
            )
        if np.isinf(values).any():
            raise PartError(f"reward={name}: component {key} is infinite; need a finite number, or NaN for a missing one")
    _check_range(reward, components["score"])
    return components


def _named(name: str, key: object) -> str:
    if isinstance(key, str) and COMPONENT_NAME.fullmatch(key):
        return key
    given = shown_line(ascii(key)) if isinstance(key, str) else f"of type {type(key).__name__}"
    raise PartError(f"reward={name}: a component's name is {given}; need a str of letters, digits, and the signs _ . -")


def _check_range(reward: Reward, scores: np.ndarray) -> None:
    if isinstance(reward, UnboundedReward) and reward.unbounded:
        return
    outside = scores[(scores < -ROUNDING) | (scores > 1 + ROUNDING)]
    if len(outside):
        raise PartError(
            f"reward={name_of(reward)}: a score is {outside[0]:g}; need 0 to 1, or the attribute unbounded = True of a reward whose "
            "scores may leave that"
        )


def _asked(sampled: Sequence[Sampled]) -> tuple[list[str | None], list[EditTask]]:
    completions = [(completion.region, one.task) for one in sampled for completion in one.completions]
    return [region for region, _ in completions], [task for _, task in completions]


def _of_one_task(error: PartError, sampled: Sequence[Sampled], reward: Reward) -> PartError:
    """The error, of the first task that fails alone; a reward that needs the whole batch to fail names its ends."""
    hint = "reward.on_error=missing counts such answers instead"
    for one in sampled:
        try:
            components_of(reward, *_asked([one]))
        except PartError as own:
            return own.about(f"task {one.task.id}", unscored(sampled)).with_hint(hint)
    ends = (
        f"the batch of tasks {sampled[0].task.id} to {sampled[-1].task.id} failed; each task alone was scored without an error"
    )
    return error.about(ends, unscored(sampled)).with_hint(hint)


def _where_it_works(error: PartError, sampled: Sequence[Sampled], reward: Reward, failures: Failures) -> dict[str, np.ndarray]:
    """The components, NaN for the answers on which the reward fails; raises `error` where that is all of them."""
    found = [_group_where_it_works(one, reward, failures) for one in sampled]
    if all(components[SCORING_FAILED].all() for components in found):
        raise error.about("every answer of a batch", unscored(sampled))
    if not any(components[SCORING_FAILED].any() for components in found):
        failures.tell(error, "the tasks of the batch were scored one by one without an error")
    names = dict.fromkeys(name for components in found for name in components)
    return {
        name: np.concatenate([components.get(name, _missing(components[SCORING_FAILED])) for components in found])
        for name in names
    }


def _group_where_it_works(one: Sampled, reward: Reward, failures: Failures) -> dict[str, np.ndarray]:
    """One task's components. The answers that do not fail alone are scored together: a reward may compare a task's answers."""
    regions, tasks = _asked([one])
    try:
        return {**components_of(reward, regions, tasks), SCORING_FAILED: np.zeros(len(regions))}
    except PartError as error:
        failures.tell(error.about(f"task {one.task.id}"), "the answers on which it fails have no reward")
    works = np.array([_works(reward, region, one.task) for region in regions])
    if works.any() and not works.all():
        chosen = [region for region, good in zip(regions, works, strict=True) if good]
        try:
            scored = components_of(reward, chosen, [one.task] * len(chosen))
        except PartError:
            works[:] = False
        else:
            components = {name: _missing(works) for name in scored}
            for name, values in scored.items():
                components[name][works] = values
            return {**components, SCORING_FAILED: (~works).astype(np.float64)}
    return {"score": _missing(works), SCORING_FAILED: np.ones(len(regions))}


def _works(reward: Reward, region: str | None, task: EditTask) -> bool:
    try:
        components_of(reward, [region], [task])
    except PartError:
        return False
    return True


def _missing(like: np.ndarray) -> np.ndarray:
    return np.full(len(like), np.nan)


def penalised(group: Group, overlong: OverlongConfig | None, max_new_tokens: int) -> Group:
    """The group with the length penalty taken off its rewards; the same group where there is none. An answer whose length
    nobody knows (some servers do not say) counts as short."""
    if overlong is None:
        return group
    lengths = np.array([completion.length for completion in group.completions])
    penalty = overlong_penalty(lengths, max_new_tokens, overlong.buffer_tokens, overlong.factor)
    return replace(group, rewards=group.scores + penalty)
