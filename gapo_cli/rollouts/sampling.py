"""Sampled answers: tasks to completions, with the regions that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines import calls as engine_calls
from gapo_cli.errors import batch_at_work
from gapo_cli.interfaces import Engine, Progress, Template, TextEngine, no_progress
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.prompts import calls
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
    asked = with_stops(sampling, template)
    generated = engine_calls.generate(engine, [one.token_ids for one in encoded], asked, seeds, progress)
    return read_answers(
        template,
        [
            Sampled(one.task, one.prompt, one.token_ids, completions)
            for one, completions in zip(encoded, generated, strict=True)
        ],
    )


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
    prompts = [calls.render(template, task) for task in tasks]
    generated = engine_calls.generate_texts(engine, prompts, with_stops(sampling, template), seeds, journal, progress)
    sampled, too_long = [], []
    for task, prompt, completions in zip(tasks, prompts, generated, strict=True):
        if completions is None:
            too_long.append(task)
        else:
            sampled.append(Sampled(task, prompt, (), completions))
    return SampledTexts(tuple(read_answers(template, sampled)), tuple(too_long))


def with_stops(sampling: SamplingConfig, template: Template) -> SamplingConfig:
    """The sampling with the template's stop texts before its own."""
    return replace(sampling, stop=tuple(dict.fromkeys((*calls.stops(template), *sampling.stop))))


def read_answers(template: Template, sampled: Sequence[Sampled]) -> list[Sampled]:
    """With the regions that the completions stand for. Raises PartError, with the groups as its batch, for a template that
    fails."""
    with batch_at_work(lambda: unscored(sampled)):
        return [
            replace(one, completions=tuple(read_answer(template, one.task, completion) for completion in one.completions))
            for one in sampled
        ]


def unscored(sampled: Sequence[Sampled]) -> list[Group]:
    """Groups whose rewards are all missing, to be kept as they are."""
    nothing = [np.full(len(one.completions), np.nan) for one in sampled]
    return [
        Group(one.task, one.prompt_token_ids, one.completions, {}, missing, missing)
        for one, missing in zip(sampled, nothing, strict=True)
    ]


def read_answer(template: Template, task: EditTask, completion: Completion) -> Completion:
    """The completion with the region that it stands for. What the token limit cut stands for none, whatever it says."""
    if completion.malformed is not None or completion.region is not None:  # the engine knows already: a recorded answer
        return completion
    if completion.finish_reason == "length":
        return replace(completion, region=None, malformed=TRUNCATED)
    answer = calls.parse(template, task, completion.text)
    return replace(completion, region=answer.region, malformed=answer.malformed, cursor=answer.cursor)
