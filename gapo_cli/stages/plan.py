"""gapo plan: what a training run would do and need, before anything is loaded: the tasks' real lengths and a config.json."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from gapo_cli.config import require
from gapo_cli.interfaces import Display, Experiment, PlannedEngine, TextEngine
from gapo_cli.models import cost
from gapo_cli.models.shape import find_shape
from gapo_cli.stages.plan_advice import Advice, advise
from gapo_cli.stages.speed import Speed, find_speed
from gapo_cli.stages.task_lengths import TaskLengths, measure_lengths
from gapo_cli.stages.train import check_settings
from gapo_cli.training.footprint import Memory, Operations, Settings, memory, sampling_flops, step_flops

DRAWN_GROUPS = 512
"""Groups whose lengths are drawn from the tasks' for the mean of a step."""
SECONDS_AN_HOUR = 3600
GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Plan:
    """All numbers of a run. Operations are of one rollout batch, `evaluation` of all evaluations of the run. `packed` and
    `padded`: operations of the update in either layout. `available`: bytes of the device, None where it is not here."""

    model: str
    settings: Settings
    lengths: TaskLengths
    speed: Speed
    step: Operations
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
        return self.settings.trainer.steps * self.settings.updates_per_step

    @property
    def passes_over_tasks(self) -> float:
        trainer = self.settings.trainer
        return (
            trainer.steps * trainer.prompts_per_step / (self.lengths.tasks * len(self.lengths.prompts) / self.lengths.measured)
        )

    @property
    def prompt_tokens_per_step(self) -> float:
        return self.settings.trainer.prompts_per_step * mean(self.lengths.prompts)

    @property
    def answer_tokens_per_step(self) -> float:
        return self.rollouts * mean(self.lengths.answers)

    @property
    def seconds_per_step(self) -> float:
        return self.speed.seconds(self.step)

    @property
    def hours(self) -> float:
        steps = self.settings.trainer.steps
        return (steps * self.seconds_per_step + self.speed.seconds(self.evaluation)) / SECONDS_AN_HOUR

    @property
    def fits(self) -> bool | None:
        return None if self.available is None else self.memory.peak <= self.available


def plan(experiment: Experiment, display: Display) -> Plan:
    """Reckons a run of stage=rl. Prepares the data when missing. Raises UserError for settings that cannot be trained with
    and for a model whose shape is not known."""
    require(experiment.stage == "rl", f"stage={experiment.stage}: gapo plan reckons stage=rl; leave it out")
    require(
        not isinstance(experiment.engine, TextEngine),
        "gapo plan: a served model (engine=openai) cannot be trained; leave engine= out",
    )
    check_settings(experiment)
    shape = find_shape(experiment.model)
    settings = Settings.of(experiment, shape)
    lengths = measure_lengths(experiment, display)
    prompts, answers = drawn(lengths, experiment.trainer.prompts_per_step, experiment.seed)
    batches = len(prompts) // experiment.trainer.prompts_per_step
    by_layout = {layout: per_batch(settings, prompts, answers, layout, batches) for layout in ("packed", "padded")}
    evaluation, evaluations = evaluation_flops(experiment, settings, lengths)
    longest = longest_prompts(lengths, settings)
    required, available = memory(settings, longest), available_bytes(experiment)
    return Plan(
        model=experiment.model.name,
        settings=settings,
        lengths=lengths,
        speed=find_speed(experiment, settings, display),
        step=by_layout[experiment.trainer.layout],
        packed=by_layout["packed"].update,
        padded=by_layout["padded"].update,
        evaluation=evaluation,
        evaluations=evaluations,
        memory=required,
        available=available,
        advice=advise(settings, longest, available) if available is not None and required.peak > available else None,
        on_long=experiment.data.on_long,
    )


def mean(values: tuple[int, ...]) -> float:
    return sum(values) / len(values)


def drawn(lengths: TaskLengths, prompts_per_step: int, seed: int) -> tuple[list[int], list[int]]:
    """Lengths of prompts and answers of whole rollout batches, drawn at random from the tasks."""
    count = prompts_per_step * max(1, DRAWN_GROUPS // prompts_per_step)
    places = random.Random(seed).choices(range(len(lengths.prompts)), k=count)
    return [lengths.prompts[place] for place in places], [lengths.answers[place] for place in places]


def per_batch(settings: Settings, prompts: list[int], answers: list[int], layout: str, batches: int) -> Operations:
    size = settings.trainer.prompts_per_step
    parts = [
        step_flops(settings, prompts[start : start + size], answers[start : start + size], layout)
        for start in range(0, len(prompts), size)
    ]
    summed = functools.reduce(Operations.__add__, parts)
    return Operations(*(getattr(summed, name) / batches for name in Operations.__slots__))


def evaluation_flops(experiment: Experiment, settings: Settings, lengths: TaskLengths) -> tuple[Operations, int]:
    """Operations of all evaluations of a run, held-out tasks being as long as the training tasks, and how many there are."""
    evaluation, trainer = experiment.evaluation, experiment.trainer
    tasks = evaluation.tasks or len(lengths.prompts)
    between = (trainer.steps - 1) // evaluation.every_steps if evaluation.every_steps else 0
    count = between + 2
    first = decoding = 0.0
    for sampling in evaluation.samplings(experiment.sampling).values():
        ran, decoded = sampling_flops(
            settings.shape, round(mean(lengths.prompts)), round(mean(lengths.answers)), sampling.group_size
        )
        first, decoding = first + tasks * count * ran, decoding + tasks * count * decoded
    return Operations(prompts=first, decoding=decoding, old_logprobs=0.0, reference=0.0, update=0.0), count


def longest_prompts(lengths: TaskLengths, settings: Settings) -> list[int]:
    """The longest prompts that one mini-batch may draw."""
    return sorted(lengths.prompts, reverse=True)[: settings.trainer.prompts_per_mini_batch]


def available_bytes(experiment: Experiment) -> int | None:
    """Bytes that the device has for a run: `plan.memory_gib`, or what is free here; None where the device is not here."""
    from gapo_cli.training.environment import free_memory

    given = experiment.plan.memory_gib
    return free_memory(experiment.trainer.device) if given is None else int(given * GIBIBYTE)
