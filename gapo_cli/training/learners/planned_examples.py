"""What stage=sft says of a run before it is started: its batches, which follow from the examples' lengths and the seed, so that the
tokens of a run are known exactly where all its tasks are measured in the model's own tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from gapo_cli.config.model import ShapeConfig
from gapo_cli.config.supervised import ArchitectureConfig, SupervisedConfig
from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.prompts import calls
from gapo_cli.training.batches.edit_log import logged_outcome
from gapo_cli.training.batches.example_batches import plan_batches
from gapo_cli.training.batches.passes import BY_ANSWER, Lengths
from gapo_cli.training.learners.token_count import LEARNT_FROM
from gapo_cli.training.outline import (
    Amount,
    AsGroups,
    MeasuredTasks,
    Outline,
    TaskLengths,
    asking_in_evaluations,
    batches_in_words,
    largest,
    left_out,
    lengths_in_words,
    passed_tokens,
    spread,
)


def outline_of_examples(experiment: Experiment, as_rl: Experiment, measured: MeasuredTasks) -> Outline:
    """`as_rl`: the experiment as the learner tells it in the sections of stage=rl. Raises UserError where no task fits the
    context."""
    config, context = experiment.supervised, experiment.model.context_length
    outcomes = [logged_outcome(task, config.log, experiment.seed) for task in measured.tasks]
    texts = [calls.answer(experiment.template, task, text) for task, text in zip(measured.tasks, outcomes, strict=True)]
    found = [Lengths(prompt, (answer,)) for prompt, answer in zip(measured.prompts, measured.count(texts), strict=True)]
    kept = [one for one in found if one.tokens <= context]
    if not kept:
        raise UserError(
            f"model.context_length={context}: none of the prompts fits it with its answer; need at least "
            f"{min(one.tokens for one in found)}"
        )
    lengths = TaskLengths.of(kept, measured, len(found) - len(kept))
    batches = [
        [kept[index] for index in batch] for batch in scheduled([one.tokens for one in kept], experiment, measured.share)
    ]
    some = spread(batches)
    held_out = experiment.evaluation.tasks or len(kept)
    return Outline(
        memory=in_memory(as_rl, batches, held_out, max(lengths.prompts)),
        steps=len(batches),
        batches=some,
        counted=len(some),
        evaluate_every=config.evaluate_every,
        lengths=lengths,
        computed=len(batches) * LEARNT_FROM * passed_tokens(some, BY_ANSWER, as_rl.trainer),
        amounts=amounts(lengths, batches),
        notes=notes(experiment, lengths),
    )


def scheduled(
    lengths: Sequence[int], experiment: Experiment, share: float = 1.0, generator: random.Random | None = None
) -> list[list[int]]:
    """The run's batches as indices of the examples, whose tokens `lengths` are. `share`: as many more tasks there are for each of
    these. `generator`: what batches are drawn with, seeded as the run's where None."""
    config = within_budget(experiment)
    if config.epochs is not None:
        config = replace(config, epochs=config.epochs * share)
    return plan_batches(lengths, config, generator or random.Random(experiment.seed))


def within_budget(experiment: Experiment) -> SupervisedConfig:
    """The section with no more tokens than `trainer.budget_tokens` allows to learn from, padding aside."""
    config, budget = experiment.supervised, experiment.trainer.budget_tokens
    if budget is None:
        return config
    affordable = max(1, budget // LEARNT_FROM)
    return replace(config, tokens=affordable if config.tokens is None else min(config.tokens, affordable))


def in_memory(as_rl: Experiment, batches: Sequence[Sequence[Lengths]], held_out: int, asked: int) -> AsGroups:
    """The largest of the batches, and an evaluation of so many held-out tasks with prompts of at most `asked` tokens."""
    trainer, division = as_rl.trainer, BY_ANSWER
    groups = largest(batches, division, trainer.layout, trainer.max_tokens_per_microbatch)
    return AsGroups(asking_in_evaluations(as_rl, held_out), groups, asked, division)


def shape_of_new(architecture: ArchitectureConfig) -> ShapeConfig:
    """The figures of a model that is made from nothing (gapo_cli/models/nano/model.py)."""
    return ShapeConfig(
        layers=architecture.layers,
        hidden_size=architecture.hidden_size,
        heads=architecture.heads,
        key_value_heads=architecture.heads,
        head_size=architecture.hidden_size // architecture.heads,
        feed_forward_size=architecture.feed_forward_size,
        vocabulary=architecture.vocabulary,
        attention_bias=True,  # as Qwen2 has, whose layers it takes
    )


def amounts(lengths: TaskLengths, batches: Sequence[Sequence[Lengths]]) -> list[Amount]:
    examples = fmean(map(len, batches))
    passes = len(batches) * examples / (lengths.tasks * len(lengths.prompts) / lengths.measured)
    return [
        *lengths_in_words(lengths),
        *batches_in_words(batches, "prompts and answers", estimated=lengths.estimated),
        Amount("examples_per_step", examples, "examples a step", f"{examples:.1f}"),
        Amount("passes_over_tasks", passes, "passes over the tasks", f"{passes:.2g}"),
    ]


def notes(experiment: Experiment, lengths: TaskLengths) -> list[str]:
    found = left_out(experiment, lengths.too_long, f"of {lengths.measured} tasks with their answers", "do not fit")
    if experiment.supervised.architecture is not None:
        found.append("The model and its tokenizer are made when the run starts: lengths are counted by another tokenizer.")
    return found
