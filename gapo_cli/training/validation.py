"""Held-out tasks answered by the policy: greedy, sampled, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gapo_cli.config import EvaluationConfig, SamplingConfig
from gapo_cli.errors import DataError
from gapo_cli.evaluation.predictions import Mode, Prediction, prediction_of, unanswered
from gapo_cli.interfaces import Engine, Progress, Template, no_progress
from gapo_cli.models.load import LoadedModel
from gapo_cli.records import EditTask
from gapo_cli.training.encoding import EncodedTask, encode_tasks, split_by_length
from gapo_cli.training.rollouts import prompt_seed, sample_encoded

PROMPT_TOO_LONG = "prompt_too_long"
SELECTION_SEED = 0
"""Which tasks of a split are asked must not depend on the experiment's seed: runs are compared on them."""
VALIDATION = 0x76616C
"""Sets the seeds of validation apart from those of any training step ("val")."""


def select_tasks(tasks: Sequence[EditTask], count: int | None) -> tuple[EditTask, ...]:
    """`count` tasks of a split (None: all), the same ones for every seed and model, in the split's order. They are
    drawn from the whole split, since neighbours in it come from one file or family."""
    if count is None or count >= len(tasks):
        return tuple(tasks)
    chosen = np.random.default_rng(SELECTION_SEED).permutation(len(tasks))[:count]
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
    if not tasks:
        raise DataError(f"evaluation.split={evaluation.split}: has no tasks; need at least 1, see the task set's manifest")
    encoded = encode_tasks(policy, template, select_tasks(tasks, evaluation.tasks), progress)
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
    plain = replace(sampling, top_p=1.0, top_k=0)
    predictions: list[Prediction] = []
    if evaluation.greedy:
        greedy = replace(plain, group_size=1, temperature=0.0)
        predictions += _answers(engine, template, asked.kept, greedy, "greedy", seed, progress)
    if evaluation.samples:
        sampled = replace(plain, group_size=evaluation.samples, temperature=evaluation.temperature)
        predictions += _answers(engine, template, asked.kept, sampled, "sampled", seed, progress)
    for one in asked.too_long:
        if evaluation.greedy:
            predictions.append(unanswered(one.task, PROMPT_TOO_LONG, "greedy"))
        predictions += [unanswered(one.task, PROMPT_TOO_LONG, "sampled", index) for index in range(evaluation.samples)]
    return predictions


def _answers(
    engine: Engine,
    template: Template,
    encoded: Sequence[EncodedTask],
    sampling: SamplingConfig,
    mode: Mode,
    seed: int,
    progress: Progress,
) -> list[Prediction]:
    def named_progress(what: str, done: int, total: int) -> None:
        progress(f"evaluating ({mode})", done, total)

    seeds = [prompt_seed(seed, VALIDATION, index) for index in range(len(encoded))]
    return [
        prediction_of(one.task, completion, mode, index)
        for one in sample_encoded(engine, template, encoded, sampling, seeds, named_progress)
        for index, completion in enumerate(one.completions)
    ]
