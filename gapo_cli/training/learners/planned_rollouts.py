"""What stage=rl says of a run before it is started: rollout batches that are drawn at random from the tasks, with answers as long as
the targets; for memory the longest prompts that a mini-batch may draw, with every answer at the limit."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.prompts import calls
from gapo_cli.quantities import quantity
from gapo_cli.training.batches.passes import BY_ANSWER, Lengths, answered
from gapo_cli.training.learners.token_count import LEARNT_FROM
from gapo_cli.training.outline import Amount, AsGroups, MeasuredTasks, Outline, TaskLengths, left_out, lengths_in_words

DRAWN_GROUPS = 512
"""Groups whose lengths are drawn from the tasks' for the mean of a step."""


def outline_of_rollouts(experiment: Experiment, measured: MeasuredTasks) -> Outline:
    """Raises UserError where no task fits the context."""
    trainer = experiment.trainer
    lengths = fitting(experiment, measured)
    groups = drawn(lengths, experiment)
    batches = [groups[start : start + trainer.prompts_per_step] for start in range(0, len(groups), trainer.prompts_per_step)]
    per_step = fmean(step_tokens(trainer, experiment.algorithm, experiment.engine, batch) for batch in batches)
    steps = trainer.steps
    if trainer.budget_tokens is not None:
        steps = min(steps, math.ceil(trainer.budget_tokens / per_step))
    return Outline(
        memory=in_memory(experiment, lengths.prompts),
        steps=steps,
        batches=[part for batch in batches for part in mini_batches(trainer, batch)],
        counted=len(batches),
        sampled=batches,
        evaluate_every=experiment.evaluation.every_steps,
        lengths=lengths,
        computed=steps * per_step,
        amounts=amounts(experiment, lengths, steps),
        notes=notes(experiment, lengths),
    )


def in_memory(experiment: Experiment, prompts: Sequence[int]) -> AsGroups:
    """The longest prompts of one mini-batch, all their answers at the limit."""
    longest = sorted(prompts, reverse=True)[: experiment.trainer.prompts_per_mini_batch]
    return AsGroups(experiment, at_limit(experiment.sampling, longest), max(longest))


def at_limit(sampling: SamplingConfig, prompts: Sequence[int]) -> list[Lengths]:
    return answered(prompts, [sampling.max_new_tokens] * len(prompts), sampling.group_size)


def fitting(experiment: Experiment, measured: MeasuredTasks) -> TaskLengths:
    """Raises UserError where no task fits the context."""
    context, limit = experiment.model.context_length, experiment.sampling.max_new_tokens
    template = experiment.template
    answers = measured.count([calls.answer(template, task, task.target) for task in measured.tasks])
    found = zip(measured.prompts, answers, strict=True)
    kept = [Lengths(prompt, (min(answer, limit),)) for prompt, answer in found if prompt + limit <= context]
    if not kept:
        raise UserError(
            f"model.context_length={context}: none of the prompts fits it with sampling.max_new_tokens={limit}; need at least "
            f"{min(measured.prompts) + limit}"
        )
    return TaskLengths.of(kept, measured, len(measured.tasks) - len(kept))


def drawn(lengths: TaskLengths, experiment: Experiment) -> list[Lengths]:
    """The groups of whole rollout batches, drawn at random from the tasks."""
    size = experiment.trainer.prompts_per_step
    count = size * max(1, DRAWN_GROUPS // size)
    places = random.Random(experiment.seed).choices(range(len(lengths.prompts)), k=count)
    prompts, answers = ([of[place] for place in places] for of in (lengths.prompts, lengths.answers))
    return answered(prompts, answers, experiment.sampling.group_size)


def mini_batches(trainer: TrainerConfig, groups: Sequence[Lengths]) -> list[Sequence[Lengths]]:
    """Of a rollout batch: what an optimizer step learns from."""
    size = trainer.prompts_per_mini_batch
    return [groups[start : start + size] for start in range(0, len(groups), size)]


def step_tokens(trainer: TrainerConfig, algorithm: AlgorithmConfig, engine: Any, groups: Sequence[Lengths]) -> int:
    """Tokens that a rollout batch of these groups computes, as a run counts them (`token_count`)."""
    epochs = trainer.epochs_per_step
    passes = LEARNT_FROM * epochs + algorithm.needs_reference + recomputes(trainer, algorithm, engine)
    if algorithm.critic is not None:
        passes += 1 + (LEARNT_FROM * epochs if algorithm.critic == "copy" else 0)
    in_passes = sum(
        one.tokens
        for batch in mini_batches(trainer, groups)
        for one in BY_ANSWER.passes(batch, trainer.layout, trainer.max_tokens_per_microbatch)
    )
    return sum(group.tokens for group in groups) + passes * in_passes


def recomputes(trainer: TrainerConfig, algorithm: AlgorithmConfig, engine: Any) -> bool:
    """Old log-probabilities take a pass."""
    from gapo_cli.rollouts.engine_agreement import recomputes_logprobs

    return recomputes_logprobs(trainer, algorithm, engine) and trainer.updates_per_step > 1


def amounts(experiment: Experiment, lengths: TaskLengths, steps: int) -> list[Amount]:
    trainer, group_size = experiment.trainer, experiment.sampling.group_size
    prompts, updates = trainer.prompts_per_step, trainer.updates_per_step
    rollouts = prompts * group_size
    read, written = prompts * fmean(lengths.prompts), rollouts * fmean(lengths.answers)
    passes = steps * prompts / (lengths.tasks * len(lengths.prompts) / lengths.measured)
    about = "about " if lengths.estimated else ""
    return [
        *lengths_in_words(lengths, experiment.sampling.max_new_tokens),
        Amount("steps", steps, "steps", f"{steps:,}"),
        Amount("prompts_per_step", prompts, "prompts a step", f"{prompts:,}"),
        Amount("rollouts_per_step", rollouts, "answers a step", f"{rollouts:,} ({group_size} a prompt)"),
        Amount(
            "prompt_tokens_per_step",
            read,
            "tokens a step",
            f"{about}{quantity(read)} of prompts, {quantity(written)} of answers",
        ),
        Amount("answer_tokens_per_step", written),
        Amount("optimizer_steps_per_rollout_batch", updates),
        Amount("optimizer_steps", steps * updates, "optimizer steps", f"{steps * updates:,} ({updates} a rollout batch)"),
        Amount("staleness", updates - 1, "staleness, optimizer steps", str(updates - 1)),
        Amount("passes_over_tasks", passes, "passes over the tasks", f"{passes:.2g}"),
    ]


def notes(experiment: Experiment, lengths: TaskLengths) -> list[str]:
    trainer, algorithm, limit = experiment.trainer, experiment.algorithm, experiment.sampling.max_new_tokens
    why = f"leave no room for sampling.max_new_tokens={limit} in"
    found = left_out(experiment, lengths.too_long, f"of {lengths.measured} prompts", why)
    budget = trainer.max_tokens_per_microbatch
    beyond = sum(prompt + limit - 1 > budget for prompt in lengths.prompts) if budget else 0
    if beyond:
        found.append(
            f"trainer.max_tokens_per_microbatch={budget}: {beyond} prompts with a {limit}-token answer exceed the limit; "
            "each such answer gets its own micro-batch."
        )
    if algorithm.dynamic_sampling:
        found.append(f"Dynamic sampling may draw a batch up to {algorithm.max_generation_rounds} times; the plan counts once.")
    return found
