"""What `gapo plan` estimates from drawn groups: operations, evaluations and memory of a whole run."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean

from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import PlannedEngine
from gapo_cli.planning import cost
from gapo_cli.planning.advice import Advice
from gapo_cli.planning.device_speed import Speed
from gapo_cli.planning.footprint import Memory, Settings
from gapo_cli.planning.operations import Operations, sampling_flops, step_flops, step_tokens
from gapo_cli.planning.task_lengths import TaskLengths
from gapo_cli.quantities import GIBIBYTE

DRAWN_GROUPS = 512
"""Groups whose lengths are drawn from the tasks' for the mean of a step."""
SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class Plan:
    """All numbers of a run. Operations are of one rollout batch, `evaluation` of all evaluations of the run. `packed` and
    `padded`: operations of the update in either layout. `busiest`: of `step`, what the process that has most to do does, the others
    waiting for it. `available`: bytes of the device, None where it is not here."""

    model: str
    settings: Settings
    lengths: TaskLengths
    speed: Speed
    step: Operations
    busiest: Operations
    packed: float
    padded: float
    evaluation: Operations
    evaluations: int
    memory: Memory
    available: int | None
    advice: Advice | None
    on_long: str

    @property
    def parameters(self) -> int:
        return cost.parameters(self.settings.shape)

    @property
    def engine_known(self) -> bool:
        """The engine says what memory it takes."""
        return isinstance(self.settings.engine, PlannedEngine)

    @property
    def rollouts(self) -> int:
        """Answers of one rollout batch."""
        return self.settings.trainer.prompts_per_step * self.settings.sampling.group_size

    @property
    def optimizer_steps(self) -> int:
        return self.settings.trainer.steps * self.settings.trainer.updates_per_step

    @property
    def passes_over_tasks(self) -> float:
        trainer = self.settings.trainer
        return (
            trainer.steps * trainer.prompts_per_step / (self.lengths.tasks * len(self.lengths.prompts) / self.lengths.measured)
        )

    @property
    def prompt_tokens_per_step(self) -> float:
        return self.settings.trainer.prompts_per_step * fmean(self.lengths.prompts)

    @property
    def answer_tokens_per_step(self) -> float:
        return self.rollouts * fmean(self.lengths.answers)

    @property
    def seconds_per_step(self) -> float:
        return self.speed.seconds(self.busiest)

    @property
    def speed_up(self) -> float:
        """How much faster a step is than on one process that computes as fast as each of these."""
        return self.speed.seconds(self.step) / self.seconds_per_step

    @property
    def exchanged(self) -> int:
        """Bytes of the gradient, which the processes add up in every optimizer step; where they share the weights, of what they gather
        and divide again in each pass that learns: the weights forward and backward, and the gradient."""
        if self.settings.processes == 1:
            return 0
        return cost.BYTES["float32"] * self.settings.trained * (3 if self.settings.trainer.shard else 1)

    @property
    def hours(self) -> float:
        steps = self.settings.trainer.steps
        evaluations = self.speed.seconds(self.evaluation) / self.settings.processes
        return (steps * self.seconds_per_step + evaluations) / SECONDS_AN_HOUR

    @property
    def fits(self) -> bool | None:
        return None if self.available is None else self.memory.peak <= self.available


def drawn(lengths: TaskLengths, prompts_per_step: int, seed: int) -> tuple[list[int], list[int]]:
    """Lengths of prompts and answers of whole rollout batches, drawn at random from the tasks."""
    count = prompts_per_step * max(1, DRAWN_GROUPS // prompts_per_step)
    places = random.Random(seed).choices(range(len(lengths.prompts)), k=count)
    return [lengths.prompts[place] for place in places], [lengths.answers[place] for place in places]


def per_batch(
    settings: Settings,
    prompts: list[int],
    answers: list[int],
    layout: str,
    batches: int,
    count: Callable[..., Operations] = step_flops,
) -> Operations:
    """The mean over rollout batches of these prompts of what `count` says of each."""
    size = settings.trainer.prompts_per_step
    parts = [
        count(settings, prompts[start : start + size], answers[start : start + size], layout)
        for start in range(0, len(prompts), size)
    ]
    summed = functools.reduce(Operations.__add__, parts)
    return Operations(*(getattr(summed, name) / batches for name in Operations.__slots__))


def within_budget(experiment: Experiment, settings: Settings, prompts: list[int], answers: list[int]) -> TrainerConfig:
    """The trainer's section with as many steps as `trainer.budget_tokens` lasts for, if that is fewer than it says. `prompts` and
    `answers`: as of `drawn`."""
    trainer = experiment.trainer
    if trainer.budget_tokens is None:
        return trainer
    batches = len(prompts) / trainer.prompts_per_step
    per_step = step_tokens(settings, prompts, answers, trainer.layout) / batches
    return replace(trainer, steps=min(trainer.steps, math.ceil(trainer.budget_tokens / per_step)))


def evaluation_flops(experiment: Experiment, settings: Settings, lengths: TaskLengths) -> tuple[Operations, int]:
    """Operations of all evaluations of a run, held-out tasks being as long as the training tasks, and how many there are."""
    evaluation, trainer = experiment.evaluation, experiment.trainer
    tasks = evaluation.tasks or len(lengths.prompts)
    between = (trainer.steps - 1) // evaluation.every_steps if evaluation.every_steps else 0
    count = between + 2
    first = decoding = 0.0
    for sampling in evaluation.samplings(experiment.sampling).values():
        ran, decoded = sampling_flops(
            settings.shape, round(fmean(lengths.prompts)), round(fmean(lengths.answers)), sampling.group_size
        )
        first, decoding = first + tasks * count * ran, decoding + tasks * count * decoded
    return Operations(prompts=first, decoding=decoding, old_logprobs=0.0, reference=0.0, update=0.0), count


def longest_prompts(lengths: TaskLengths, settings: Settings) -> list[int]:
    """The longest prompts that one mini-batch may draw."""
    return sorted(lengths.prompts, reverse=True)[: settings.trainer.prompts_per_mini_batch]


def available_bytes(experiment: Experiment) -> int | None:
    """Bytes that the device has for a run: `plan.memory_gib`, or what is free here; None where the device is not here."""
    from gapo_cli.hardware import free_memory

    given = experiment.plan.memory_gib
    return free_memory(experiment.trainer.device) if given is None else int(given * GIBIBYTE)
