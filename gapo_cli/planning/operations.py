"""Floating-point operations of a training step and of sampling, by count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gapo_cli.config.model import ShapeConfig
from gapo_cli.planning import cost
from gapo_cli.planning.footprint import Settings, micro_batches
from gapo_cli.processes.ranks import owners_of
from gapo_cli.training.learners.token_count import LEARNT_FROM


@dataclass(frozen=True, slots=True)
class Operations:
    """Floating-point operations of one rollout batch. `decoding`: one token a row at a time, which no device does at the
    speed of whole passes."""

    prompts: float
    decoding: float
    old_logprobs: float
    reference: float
    update: float
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


def sampling_flops(shape: ShapeConfig, prompt: int, answer: int, count: int) -> tuple[float, float]:
    """Operations of running one prompt, and of decoding `count` answers to it."""
    first = cost.token_flops(shape) * prompt + cost.pair_flops(shape) * prompt * (prompt + 1) / 2 + cost.head_flops(shape)
    # the first token comes from the prompt's pass, the last one is read by nobody
    steps = answer - 1
    seen = steps * prompt + steps * (steps + 1) / 2
    each = (cost.token_flops(shape) + cost.head_flops(shape)) * steps + cost.pair_flops(shape) * seen
    return float(first), float(count * each)


def busiest_flops(settings: Settings, prompts: Sequence[int], answers: Sequence[int], layout: str) -> Operations:
    """As `step_flops`, of the process that has most to do: while answers are sampled, and of each mini-batch. All wait for it."""
    if settings.processes == 1:
        return step_flops(settings, prompts, answers, layout)
    limit, group = settings.sampling.max_new_tokens, settings.sampling.group_size

    def busiest(start: int, sizes: Sequence[float], of: Callable[[Operations], float]) -> Operations:
        owners = owners_of(sizes, settings.processes)
        shares = [[start + place for place, owner in enumerate(owners) if owner == rank] for rank in range(settings.processes)]
        each = [
            step_flops(settings, [prompts[place] for place in own], [answers[place] for place in own], layout)
            for own in shares
            if own
        ]
        return max(each, key=of)

    sampling = busiest(0, [prompt + limit for prompt in prompts], lambda one: one.prompts + one.decoding)
    size = settings.trainer.prompts_per_mini_batch
    found = Operations(sampling.prompts, sampling.decoding, 0.0, 0.0, 0.0)
    for start in range(0, len(prompts), size):
        stop = min(start + size, len(prompts))
        sizes = [prompts[place] + group * answers[place] for place in range(start, stop)]
        most = busiest(start, sizes, lambda one: one.learning)
        found += Operations(0.0, 0.0, most.old_logprobs, most.reference, most.update, most.critic, most.terms)
    return found


def step_flops(settings: Settings, prompts: Sequence[int], answers: Sequence[int], layout: str) -> Operations:
    """Operations of a rollout batch of these prompts with answers of these lengths, in a training layout, as if
    every answer had an advantage: what is left out for an advantage of 0 is known only when it is there."""
    shape, trainer = settings.shape, settings.trainer
    passes = passes_of(settings, prompts, answers, layout)
    forward = sum(cost.forward_flops(shape, one) for one in passes)
    backward = sum(cost.backward_flops(shape, one, settings.adapters) for one in passes)
    again = forward if trainer.gradient_checkpointing else 0.0
    sampled = [
        sampling_flops(shape, prompt, answer, settings.sampling.group_size)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return Operations(
        prompts=sum(prompt for prompt, _ in sampled),
        decoding=sum(decoding for _, decoding in sampled),
        old_logprobs=forward if recomputes(settings) else 0.0,
        reference=forward if settings.algorithm.needs_reference else 0.0,
        update=trainer.epochs_per_step * (forward + backward + again),
        critic=critic_flops(settings, passes),
        terms=trainer.epochs_per_step
        * sum(term.forward * forward + term.backward * (backward + again) for term in settings.term_costs),
    )


def passes_of(settings: Settings, prompts: Sequence[int], answers: Sequence[int], layout: str) -> list[cost.Pass]:
    """The passes of one epoch over a rollout batch."""
    size = settings.trainer.prompts_per_mini_batch
    return [
        one
        for start in range(0, len(prompts), size)
        for one in micro_batches(settings, prompts[start : start + size], answers[start : start + size], layout)
    ]


def recomputes(settings: Settings) -> bool:
    """Old log-probabilities take a pass."""
    from gapo_cli.rollouts.engine_agreement import recomputes_logprobs

    return recomputes_logprobs(settings.trainer, settings.algorithm, settings.engine) and settings.trainer.updates_per_step > 1


def step_tokens(settings: Settings, prompts: Sequence[int], answers: Sequence[int], layout: str) -> int:
    """Tokens that a rollout batch of these prompts computes, as a run counts them (training/learners/token_count.py)."""
    epochs, algorithm = settings.trainer.epochs_per_step, settings.algorithm
    passes = LEARNT_FROM * epochs + algorithm.needs_reference + recomputes(settings)
    if algorithm.critic is not None:
        passes += 1 + (LEARNT_FROM * epochs if algorithm.critic == "copy" else 0)
    in_passes = sum(one.tokens for one in passes_of(settings, prompts, answers, layout))
    return sum(prompts) + settings.sampling.group_size * sum(answers) + passes * in_passes


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
