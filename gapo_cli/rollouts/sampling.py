"""Sampled answers and their scores: tasks to completions, completions to groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Engine, Progress, Reward, Template, TextEngine, no_progress
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.records import Completion, EditTask, Group, Prompt
from gapo_cli.rollouts.encoding import EncodedTask, encode_tasks

TRUNCATED = "truncated"
"""Why a completion that the token limit cut stands for no region, whatever its text."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A task's prompt and its completions, with regions read and not yet scored."""

    task: EditTask
    prompt: Prompt
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class SampledTexts:
    """What a TextEngine made of tasks: their answers (without prompt token ids, which nobody here knows), and the tasks
    whose prompts do not fit its model's context."""

    sampled: tuple[Sampled, ...]
    too_long: tuple[EditTask, ...]


def sample(
    policy: LoadedModel,
    engine: Engine,
    template: Template,
    tasks: Sequence[EditTask],
    sampling: SamplingConfig,
    seeds: Sequence[int],
    progress: Progress = no_progress,
) -> list[Sampled]:
    """`sampling.group_size` completions for each task, drawn with that task's seed. Prompts must fit the context."""
    return sample_encoded(engine, template, encode_tasks(policy, template, tasks), sampling, seeds, progress)


def sample_encoded(
    engine: Engine,
    template: Template,
    encoded: Sequence[EncodedTask],
    sampling: SamplingConfig,
    seeds: Sequence[int],
    progress: Progress = no_progress,
) -> list[Sampled]:
    """As `sample`, for prompts that are tokenised already."""
    generated = engine.generate([one.token_ids for one in encoded], sampling, seeds, progress)
    return [
        Sampled(
            one.task, one.prompt, one.token_ids, tuple(_parsed(template, one.task, completion) for completion in completions)
        )
        for one, completions in zip(encoded, generated, strict=True)
    ]


def sample_texts(
    engine: TextEngine,
    template: Template,
    tasks: Sequence[EditTask],
    sampling: SamplingConfig,
    seeds: Sequence[int],
    journal: Path,
    progress: Progress = no_progress,
) -> SampledTexts:
    """As `sample`, of an engine that needs no policy. What `journal` holds is not asked again."""
    prompts = [template.render(task) for task in tasks]
    generated = engine.generate_texts(prompts, sampling, seeds, journal, progress)
    sampled, too_long = [], []
    for task, prompt, completions in zip(tasks, prompts, generated, strict=True):
        if completions is None:
            too_long.append(task)
        else:
            sampled.append(Sampled(task, prompt, (), tuple(_parsed(template, task, completion) for completion in completions)))
    return SampledTexts(tuple(sampled), tuple(too_long))


def score(sampled: Sequence[Sampled], reward: Reward) -> list[Group]:
    """All completions scored in one call. `rewards` of the groups equal their `scores`: no length penalty yet. A NaN
    stays NaN. Raises UserError where the reward gives no "score" or not one number a completion."""
    predictions = [completion.region for one in sampled for completion in one.completions]
    targets = [one.task.target for one in sampled for _ in one.completions]
    components = {name: np.asarray(values, dtype=np.float64) for name, values in reward(predictions, targets).items()}
    if "score" not in components:
        raise UserError(
            f"reward={type(reward).__name__}: gives {', '.join(components) or 'nothing'}; need a component named score"
        )
    for name, values in components.items():
        if values.shape != (len(predictions),):
            raise UserError(
                f"reward={type(reward).__name__}: component {name} has shape {values.shape}; need one number for each of "
                f"the {len(predictions)} completions"
            )
    groups, start = [], 0
    for one in sampled:
        end = start + len(one.completions)
        own = {name: values[start:end] for name, values in components.items()}
        groups.append(Group(one.task, one.prompt_token_ids, one.completions, own, own["score"], own["score"]))
        start = end
    return groups


def _parsed(template: Template, task: EditTask, completion: Completion) -> Completion:
    if completion.malformed is not None:  # the engine knows already that there is no answer to read
        return completion
    if completion.finish_reason == "length":
        return replace(completion, region=None, malformed=TRUNCATED)
    answer = template.parse(task, completion.text)
    return replace(completion, region=answer.region, malformed=answer.malformed)
