"""What `gapo plan` estimates from what a learner says of a run: operations, evaluations and memory."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import PlannedEngine
from gapo_cli.planning import cost
from gapo_cli.planning.advice import Advice
from gapo_cli.planning.device_speed import Speed
from gapo_cli.planning.footprint import Memory, Settings
from gapo_cli.planning.operations import Operations, sampled_flops
from gapo_cli.quantities import GIBIBYTE
from gapo_cli.training.batches.passes import Lengths
from gapo_cli.training.outline import Outline

SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class Plan:
    """All numbers of a run. Operations are of one step, `first` of what is sampled before it, `evaluation` of all evaluations of the
    run. `packed` and `padded`: operations of the update in either layout. `busiest`: of `step`, what the process that has most to do
    does, the others waiting for it. `available`: bytes of the device, None where it is not here."""

    model: str
    settings: Settings
    outline: Outline
    speed: Speed
    step: Operations
    busiest: Operations
    packed: float
    padded: float
    first: Operations
    evaluation: Operations
    evaluations: int
    memory: Memory
    available: int | None
    advice: Advice | None

    @property
    def parameters(self) -> int:
        return cost.parameters(self.settings.shape)

    @property
    def engine_known(self) -> bool:
        """The engine says what memory it takes."""
        return isinstance(self.settings.engine, PlannedEngine)

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
        beside = self.speed.seconds(self.first + self.evaluation) / self.settings.processes
        return (self.outline.steps * self.seconds_per_step + beside) / SECONDS_AN_HOUR

    @property
    def fits(self) -> bool | None:
        return None if self.available is None else self.memory.peak <= self.available


def evaluation_flops(experiment: Experiment, settings: Settings, outline: Outline) -> tuple[Operations, int]:
    """Operations of all evaluations of a run, held-out tasks being as long as the training tasks, and how many there are."""
    evaluation, lengths, every = experiment.evaluation, outline.lengths, outline.evaluate_every
    tasks = evaluation.tasks or len(lengths.prompts)
    count = 2 + ((outline.steps - 1) // every if every else 0)
    prompt, answer = round(fmean(lengths.prompts)), round(fmean(lengths.answers))
    samplings = evaluation.samplings(experiment.sampling).values()
    once = sampled_flops(settings.shape, [Lengths(prompt, (answer,) * sampling.group_size) for sampling in samplings])
    return once * (tasks * count), count


def available_bytes(experiment: Experiment) -> int | None:
    """Bytes that the device has for a run: `plan.memory_gib`, or what is free here; None where the device is not here."""
    from gapo_cli.hardware import free_memory

    given = experiment.plan.memory_gib
    return free_memory(experiment.trainer.device) if given is None else int(given * GIBIBYTE)
