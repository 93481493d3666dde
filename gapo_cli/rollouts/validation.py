"""Held-out tasks answered by the policy: greedy, sampled, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.errors import DataError
from gapo_cli.evaluation.predictions import Mode, Prediction, prediction_of, unanswered
from gapo_cli.interfaces import Engine, Progress, Template, TextEngine, no_progress
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.records import EditTask
from gapo_cli.rollouts.encoding import EncodedTask, encode_tasks, split_by_length
from gapo_cli.rollouts.sampling import Sampled, sample_encoded, sample_texts
from gapo_cli.seeds import derived_seed

Task = TypeVar("Task")
"""A task, or its id."""
PROMPT_TOO_LONG = "prompt_too_long"
SELECTION_SEED = 0
"""Which tasks of a split an evaluation asks must not depend on the experiment's seed: runs are compared on them."""
VALIDATION = 0x76616C
"""Sets the seeds of validation apart from those of any training step ("val")."""


def select_tasks(tasks: Sequence[Task], count: int | None, seed: int = SELECTION_SEED) -> tuple[Task, ...]:
    """`count` tasks of a split (None: all) in the split's order, the same ones for the same `seed`. They are drawn from the
    whole split, since neighbours in it come from one file or family."""
    if count is None or count >= len(tasks):
        return tuple(tasks)
    chosen = np.random.default_rng(seed).permutation(len(tasks))[:count]
    return tuple(tasks[index] for index in np.sort(chosen))


def validate(
    policy: LoadedModel,
    engine: Engine,
    template: Template,
    tasks: Sequence[EditTask],
    evaluation: EvaluationConfig,
    sampling: SamplingConfig,
    seed: int,
    progress: Progress = no_progress,
) -> list[Prediction]:
    """Answers to `evaluation.tasks` of the tasks. `sampling` gives the token limit; greedy or not, how often and how
    hot is `evaluation`'s, and nothing is cut from the distribution (top_p 1, top_k off). A task whose prompt does not
    fit the context is there as malformed="prompt_too_long". Raises DataError for an empty task set."""
    encoded = encode_tasks(policy, template, _selected(tasks, evaluation), progress)
    return validate_encoded(policy, engine, template, encoded, evaluation, sampling, seed, progress)


def validate_encoded(
    policy: LoadedModel,
    engine: Engine,
    template: Template,
    encoded: Sequence[EncodedTask],
    evaluation: EvaluationConfig,
    sampling: SamplingConfig,
    seed: int,
    progress: Progress = no_progress,
) -> list[Prediction]:
    """As `validate`, for tasks that are selected and tokenised already."""
    asked = split_by_length(encoded, policy.config.context_length, sampling.max_new_tokens)
    predictions: list[Prediction] = []
    for mode, settings in evaluation.samplings(sampling).items():
        seeds = _seeds(seed, len(asked.kept))
        sampled = sample_encoded(engine, template, asked.kept, settings, seeds, _named(progress, mode))
        predictions += _predictions(sampled, mode)
    for mode, settings in evaluation.samplings(sampling).items():
        predictions += _too_long([(one.task, one.prompt.cut) for one in asked.too_long], mode, settings)
    return predictions


def validate_texts(
    engine: TextEngine,
    template: Template,
    tasks: Sequence[EditTask],
    evaluation: EvaluationConfig,
    sampling: SamplingConfig,
    seed: int,
    journal: Path,
    progress: Progress = no_progress,
) -> list[Prediction]:
    """As `validate`, by an engine that needs no policy and knows itself what fits its context. What `journal` holds is not
    asked again."""
    chosen = _selected(tasks, evaluation)
    seeds = _seeds(seed, len(chosen))
    predictions: list[Prediction] = []
    for mode, settings in evaluation.samplings(sampling).items():
        asked = sample_texts(engine, template, chosen, settings, seeds, journal, _named(progress, mode))
        predictions += _predictions(asked.sampled, mode)
        predictions += _too_long([(task, ()) for task in asked.too_long], mode, settings)
    return predictions


def _selected(tasks: Sequence[EditTask], evaluation: EvaluationConfig) -> tuple[EditTask, ...]:
    if not tasks:
        raise DataError(f"evaluation.split={evaluation.split}: has no tasks; need at least 1, see the task set's manifest")
    return select_tasks(tasks, evaluation.tasks)


def _seeds(seed: int, count: int) -> list[int]:
    return [derived_seed(seed, VALIDATION, index) for index in range(count)]


def _named(progress: Progress, mode: Mode) -> Progress:
    return lambda what, done, total: progress(f"evaluating ({mode})", done, total)


def _predictions(sampled: Sequence[Sampled], mode: Mode) -> list[Prediction]:
    return [
        prediction_of(one.task, completion, mode, index, one.prompt.cut)
        for one in sampled
        for index, completion in enumerate(one.completions)
    ]


def _too_long(asked: Sequence[tuple[EditTask, Sequence[str]]], mode: Mode, sampling: SamplingConfig) -> list[Prediction]:
    """For (task, what its prompt left out)."""
    return [unanswered(task, PROMPT_TOO_LONG, mode, index, cut) for task, cut in asked for index in range(sampling.group_size)]
