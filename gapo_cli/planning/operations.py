"""Floating-point operations of a training step and of sampling, by count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gapo_cli.config.model import ShapeConfig
from gapo_cli.planning import cost
from gapo_cli.planning.footprint import Settings, micro_batches
from gapo_cli.processes.ranks import owners_of
from gapo_cli.training.batches.passes import Lengths
from gapo_cli.training.learners.planned_rollouts import recomputes


@dataclass(frozen=True, slots=True)
class Operations:
    """Floating-point operations by kind. `decoding`: one token a row at a time, which no device does at the
    speed of whole passes."""

    prompts: float = 0.0
    decoding: float = 0.0
    old_logprobs: float = 0.0
    reference: float = 0.0
    update: float = 0.0
    critic: float = 0.0
    terms: float = 0.0

    @property
    def learning(self) -> float:
        return self.old_logprobs + self.reference + self.update + self.critic + self.terms

    @property
    def total(self) -> float:
        return self.prompts + self.decoding + self.learning

    def __add__(self, other: Operations) -> Operations:
        return Operations(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def __mul__(self, count: float) -> Operations:
        return Operations(*(getattr(self, name) * count for name in self.__slots__))


def sampling_flops(shape: ShapeConfig, group: Lengths) -> tuple[float, float]:
    """Operations of running a group's prompt once, and of decoding its answers."""
    prompt = group.prompt
    first = cost.token_flops(shape) * prompt + cost.pair_flops(shape) * prompt * (prompt + 1) / 2 + cost.head_flops(shape)
    decoding = 0.0
    for answer in group.answers:
        # the first token comes from the prompt's pass, the last one is read by nobody
        steps = answer - 1
        seen = steps * prompt + steps * (steps + 1) / 2
        decoding += (cost.token_flops(shape) + cost.head_flops(shape)) * steps + cost.pair_flops(shape) * seen
    return float(first), decoding


def sampled_flops(shape: ShapeConfig, groups: Sequence[Lengths]) -> Operations:
    """Of answering these prompts."""
    found = [sampling_flops(shape, group) for group in groups]
    return Operations(prompts=sum(first for first, _ in found), decoding=sum(decoding for _, decoding in found))


def learning_flops(settings: Settings, groups: Sequence[Lengths], layout: str) -> Operations:
    """Of the optimizer steps that learn from these groups together, one an epoch, as if every answer had an advantage: what is left
    out for an advantage of 0 is known only when it is there."""
    shape, trainer = settings.shape, settings.trainer
    passes = micro_batches(settings, groups, layout)
    forward = sum(cost.forward_flops(shape, one) for one in passes)
    backward = sum(cost.backward_flops(shape, one, settings.adapters) for one in passes)
    again = forward if trainer.gradient_checkpointing else 0.0
    return Operations(
        old_logprobs=forward if recomputes(trainer, settings.algorithm, settings.engine) else 0.0,
        reference=forward if settings.has_reference else 0.0,
        update=trainer.epochs_per_step * (forward + backward + again),
        critic=critic_flops(settings, passes),
        terms=trainer.epochs_per_step
        * sum(term.forward * forward + term.backward * (backward + again) for term in settings.term_costs),
    )


def run_flops(
    settings: Settings,
    batches: Sequence[Sequence[Lengths]],
    sampled: Sequence[Sequence[Lengths]] = (),
    layout: str | None = None,
) -> Operations:
    """Of optimizer steps that learn from these batches, and of answering the prompts of each in `sampled`."""
    layout = layout or settings.trainer.layout
    answering = [sampled_flops(settings.shape, groups) for groups in sampled]
    return sum([*answering, *(learning_flops(settings, batch, layout) for batch in batches)], Operations())


def busiest_flops(
    settings: Settings, batches: Sequence[Sequence[Lengths]], sampled: Sequence[Sequence[Lengths]] = ()
) -> Operations:
    """As `run_flops`, of the process that has most to do: while answers are sampled, and of each optimizer step. All wait for it."""
    if settings.processes == 1:
        return run_flops(settings, batches, sampled)
    limit, layout, division = settings.sampling.max_new_tokens, settings.trainer.layout, settings.division
    answering = [
        max(
            (
                sampled_flops(settings.shape, own)
                for own in shares(groups, lambda group: group.prompt + limit, settings.processes)
            ),
            key=lambda one: one.prompts + one.decoding,
        )
        for groups in sampled
    ]
    learning = [
        max(
            (learning_flops(settings, own, layout) for own in shares(batch, division.size, settings.processes)),
            key=lambda one: one.learning,
        )
        for batch in batches
    ]
    return sum([*answering, *learning], Operations())


def shares(groups: Sequence[Lengths], size: Callable[[Lengths], int], processes: int) -> list[list[Lengths]]:
    """The groups of each process that has any."""
    owners = owners_of([size(group) for group in groups], processes)
    found = [[group for group, owner in zip(groups, owners, strict=True) if owner == rank] for rank in range(processes)]
    return [own for own in found if own]


def critic_flops(settings: Settings, passes: Sequence[cost.Pass]) -> float:
    """Of a critic: one pass for the values before the update, and where it has a trunk of its own, those that it learns in. Its
    head is one product a token, which is not counted."""
    kind, shape, trainer = settings.algorithm.critic, settings.shape, settings.trainer
    trunk = [replace(one, predicted=0) for one in passes]
    forward = sum(cost.forward_flops(shape, one) for one in trunk)
    if kind != "copy":
        return forward if kind == "head" else 0.0
    backward = sum(cost.backward_flops(shape, one, settings.adapters) for one in trunk)
    again = forward if trainer.gradient_checkpointing else 0.0
    return forward + trainer.epochs_per_step * (forward + backward + again)
