"""What a learner says of a run before it is started: how long what it learns from is, in which batches, and what of it takes the most
memory. `gapo plan` makes memory, operations and hours of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.experiment import Experiment
from gapo_cli.quantities import quantity
from gapo_cli.records import EditTask
from gapo_cli.training.batches.passes import BY_ANSWER, Division, Lengths

MOST_BATCHES = 2000
"""Batches whose passes are counted; of a longer run, so many that are evenly spread over it."""


@dataclass(frozen=True)
class AsGroups:
    """What a run keeps in memory, told as group-relative RL, which `gapo plan` can estimate. `experiment`: its sections say so; the
    engine answers `trainer.prompts_per_step` prompts of at most `asked` tokens at a time, as `sampling` says. `groups`: of the
    optimizer step that takes the most memory, the longest first, divided into passes as `division` does. `reference`: the starting
    model is kept beside the policy, whatever the algorithm says."""

    experiment: Experiment
    groups: Sequence[Lengths]
    asked: int
    division: Division = BY_ANSWER
    reference: bool = False


@dataclass(frozen=True)
class MeasuredTasks:
    """The training tasks that a plan looks at: of all `total` of the split, evenly spread over it. `prompts`: tokens of each task's
    prompt. `count`: tokens of answers, each with its end token. `estimated`: in characters, for want of the tokenizer."""

    tasks: Sequence[EditTask]
    prompts: Sequence[int]
    count: Callable[[Sequence[str]], list[int]]
    total: int
    estimated: bool

    @property
    def share(self) -> float:
        """Tasks of the split for each that is looked at."""
        return self.total / len(self.tasks)


@dataclass(frozen=True)
class TaskLengths:
    """Tokens of the prompts and of the answers that are learnt from, as far as they fit the context. `tasks`: all of the split;
    `measured`: those looked at; `too_long`: what of them does not fit. `estimated`: counted in characters."""

    prompts: tuple[int, ...]
    answers: tuple[int, ...]
    tasks: int
    measured: int
    too_long: int
    estimated: bool

    @classmethod
    def of(cls, groups: Sequence[Lengths], measured: MeasuredTasks, too_long: int) -> TaskLengths:
        answers = tuple(answer for group in groups for answer in group.answers)
        prompts = tuple(group.prompt for group in groups)
        return cls(prompts, answers, measured.total, len(measured.tasks), too_long, measured.estimated)


@dataclass(frozen=True)
class Amount:
    """One number of a plan: `key` and `value` in its JSON, `words` and `shown` in its table, where it has a row."""

    key: str
    value: Any
    words: str = ""
    shown: str = ""


@dataclass(frozen=True)
class Outline:
    """`steps`: of the run. `batches`: what optimizer steps learn from, in `counted` steps together; `sampled`: what the engine
    answers in each of these. `first`: what it answers before the first step. `evaluate_every`: steps between two evaluations, 0:
    before and after only. `computed`: tokens of the whole run, as its own count has them. `notes`: what else to know."""

    memory: AsGroups
    steps: int
    batches: Sequence[Sequence[Lengths]]
    counted: int
    evaluate_every: int
    lengths: TaskLengths
    computed: float
    amounts: Sequence[Amount]
    sampled: Sequence[Sequence[Lengths]] = ()
    first: Sequence[Lengths] = ()
    notes: Sequence[str] = ()


def lengths_in_words(lengths: TaskLengths, limit: int | None = None) -> list[Amount]:
    """The first rows of every plan. `limit`: of tokens of an answer that is sampled, None where none is."""
    about = "about " if lengths.estimated else ""
    prompt, longest = fmean(lengths.prompts), max(lengths.prompts)
    answer, most = fmean(lengths.answers), max(lengths.answers) if limit is None else limit
    end = "longest" if limit is None else "limit"
    return [
        Amount("tasks", lengths.tasks, "tasks", f"{lengths.tasks:,}"),
        Amount("tasks_measured", lengths.measured),
        Amount("tasks_too_long", lengths.too_long),
        Amount("lengths_estimated", lengths.estimated),
        Amount(
            "prompt_tokens",
            {"mean": prompt, "longest": longest},
            "prompt tokens, mean and longest",
            f"{about}{prompt:.0f}, {longest}",
        ),
        Amount("answer_tokens", {"mean": answer, end: most}, f"answer tokens, mean and {end}", f"{about}{answer:.0f}, {most}"),
    ]


def batches_in_words(batches: Sequence[Sequence[Lengths]], what: str, *, estimated: bool) -> list[Amount]:
    """Of a learner that makes one optimizer step a batch of these. `what`: the tokens are of."""
    steps, tokens = len(batches), fmean(sum(group.tokens for group in batch) for batch in batches)
    about = "about " if estimated else ""
    return [
        Amount("steps", steps, "steps", f"{steps:,}, one batch each"),
        Amount("optimizer_steps", steps),
        Amount("tokens_per_step", tokens, "tokens a step", f"{about}{quantity(tokens)} of {what}"),
    ]


def left_out(experiment: Experiment, count: int, what: str, why: str) -> list[str]:
    """A note that so many do not fit the context; none of 0."""
    if not count:
        return []
    context, done = experiment.model.context_length, "stops at" if experiment.data.on_long == "stop" else "leaves out"
    return [f"{count} {what} {why} model.context_length={context}, and the run {done} them."]


def passed_tokens(batches: Sequence[Sequence[Lengths]], division: Division, trainer: TrainerConfig) -> float:
    """Tokens of the passes of a batch, padding included: the mean over these."""
    layout, budget = trainer.layout, trainer.max_tokens_per_microbatch
    return fmean(sum(one.tokens for one in division.passes(batch, layout, budget)) for batch in batches)


def largest(batches: Sequence[Sequence[Lengths]], division: Division, layout: str, budget: int) -> Sequence[Lengths]:
    """The batch one of whose passes has the most tokens, its longest group first."""
    found = max(spread(batches), key=lambda batch: max(one.tokens for one in division.passes(batch, layout, budget)))
    return sorted(found, key=lambda group: -group.tokens)


def spread(batches: Sequence[Sequence[Lengths]]) -> Sequence[Sequence[Lengths]]:
    """At most MOST_BATCHES of them, evenly spread."""
    count = min(len(batches), MOST_BATCHES)
    return [batches[index * len(batches) // count] for index in range(count)]


def asking_in_evaluations(experiment: Experiment, prompts: int) -> Experiment:
    """The experiment whose engine answers so many held-out prompts at a time, and whose every step is one optimizer step."""
    trainer = replace(
        experiment.trainer, prompts_per_step=max(1, prompts), prompts_per_mini_batch=max(1, prompts), epochs_per_step=1
    )
    sampling: SamplingConfig = replace(experiment.sampling, group_size=max(1, experiment.evaluation.samples))
    return replace(experiment, trainer=trainer, sampling=sampling)
