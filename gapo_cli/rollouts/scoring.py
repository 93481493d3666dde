"""What completions earn: a reward's components, checked, and the length penalty on the score. Here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gapo_cli.config.algorithm import OverlongConfig
from gapo_cli.errors import UserError, first_line
from gapo_cli.interfaces import Reward
from gapo_cli.records import EditTask, Group
from gapo_cli.rollouts.overlong import overlong_penalty
from gapo_cli.rollouts.sampling import Sampled


def score(sampled: Sequence[Sampled], reward: Reward) -> list[Group]:
    """All completions scored in one call. `rewards` of the groups equal their `scores`: no length penalty yet. A NaN
    stays NaN. Raises UserError as `components_of`."""
    predictions = [completion.region for one in sampled for completion in one.completions]
    tasks = [one.task for one in sampled for _ in one.completions]
    components = components_of(reward, predictions, tasks)
    groups, start = [], 0
    for one in sampled:
        end = start + len(one.completions)
        own = {name: values[start:end] for name, values in components.items()}
        groups.append(Group(one.task, one.prompt_token_ids, one.completions, own, own["score"], own["score"]))
        start = end
    return groups


def components_of(reward: Reward, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
    """The reward's components as float64 (N,). Raises UserError where they are no numbers, where "score" is not among
    them, or where a component has not one number a completion."""
    name = type(reward).__name__
    given = reward(predictions, tasks)
    if not isinstance(given, Mapping):
        raise UserError(f"reward={name}: gives {type(given).__name__}; need scores by the name of their component")
    components: dict[str, np.ndarray] = {}
    for key, values in given.items():
        try:
            components[key] = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"reward={name}: component {key} is not numbers ({first_line(error)})") from error
    if "score" not in components:
        raise UserError(f"reward={name}: gives {', '.join(components) or 'nothing'}; need a component named score")
    for key, values in components.items():
        if values.shape != (len(predictions),):
            raise UserError(
                f"reward={name}: component {key} has shape {values.shape}; need one number for each of the "
                f"{len(predictions)} completions"
            )
    return components


def penalised(group: Group, overlong: OverlongConfig | None, max_new_tokens: int) -> Group:
    """The group with the length penalty taken off its rewards; the same group where there is none. An answer whose length
    nobody knows (some servers do not say) counts as short."""
    if overlong is None:
        return group
    lengths = np.array([completion.length for completion in group.completions])
    penalty = overlong_penalty(lengths, max_new_tokens, overlong.buffer_tokens, overlong.factor)
    return replace(group, rewards=group.scores + penalty)
