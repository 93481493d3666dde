"""What a training run keeps in memory, from its settings and the lengths of prompts and answers: no model.

Of what a learner says takes the most, the largest micro-batch counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig, ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.engines import calls as engine_calls
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import EngineMemory, RolloutScale, TermCost
from gapo_cli.planning import cost
from gapo_cli.planning.cost import BYTES
from gapo_cli.quantities import MEBIBYTE
from gapo_cli.training.batches.passes import BY_ANSWER, Division, Lengths, Pass
from gapo_cli.training.objectives import calls
from gapo_cli.training.outline import AsGroups

MOMENT_BYTES = {"adamw": 2 * 4, "adamw_8bit": 2 * (1 + 4 / 256)}
"""Of both moments, a parameter; in 8 bits with a float32 scale for each 256."""
LIBRARIES = 400 * MEBIBYTE
"""Python, torch and transformers before a model is loaded, on a CPU (docs/how-to/plan-a-run.md)."""
GATHERED_LAYERS = 2
"""At a time, where processes share the weights: FSDP gathers the next layer while one is computed."""
HEAP_SLACK = 0.6
"""On a CPU: what the C library's heap keeps beside tensors that are in use, as a share of those that come and go. Measured,
between 0.3 and 1.1 (docs/how-to/plan-a-run.md)."""


@dataclass(frozen=True)
class Settings:
    """All that memory and operations follow from, beside lengths. `engine`: what makes the engine, a policy given. `processes`:
    how many share the run; memory is that of one of them. `division`, `reference`: as of `gapo_cli.training.outline.AsGroups`."""

    shape: ShapeConfig
    model: ModelConfig
    trainer: TrainerConfig
    algorithm: AlgorithmConfig
    sampling: SamplingConfig
    engine: Any
    processes: int = 1
    division: Division = BY_ANSWER
    reference: bool = False

    @classmethod
    def of(cls, experiment: Experiment, shape: ShapeConfig) -> Settings:
        processes = experiment.trainer.processes or experiment.ranks.count
        return cls(
            shape, experiment.model, experiment.trainer, experiment.algorithm, experiment.sampling, experiment.engine, processes
        )

    @classmethod
    def told_by(cls, learner: AsGroups, shape: ShapeConfig) -> Settings:
        return replace(cls.of(learner.experiment, shape), division=learner.division, reference=learner.reference)

    @property
    def has_reference(self) -> bool:
        """The starting model is kept beside the policy."""
        return self.reference or self.algorithm.needs_reference

    @property
    def holders(self) -> int:
        """Among how many processes weights, gradients and moments are divided."""
        return self.processes if self.trainer.shard else 1

    def share(self, prompts: int) -> int:
        """How many of so many prompts a process has at most, where all are as long."""
        return -(-prompts // self.processes)

    @property
    def adapters(self) -> bool:
        return self.model.lora.rank > 0

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        if self.adapters:
            return cost.adapter_parameters(self.shape, self.model.lora.rank, self.model.lora.targets)
        return cost.parameters(self.shape)

    @property
    def critic_trained(self) -> int:
        """Parameters of the critic that are trained; 0 without one."""
        if self.algorithm.critic is None:
            return 0
        head = self.shape.hidden_size + 1
        return head + (self.trained_in_trunk if self.algorithm.critic == "copy" else 0)

    @property
    def trained_in_trunk(self) -> int:
        """As `trained`, without the head, which a critic has no copy of."""
        own_head = not self.adapters and not self.shape.tied_embeddings
        return self.trained - (cost.head_parameters(self.shape) if own_head else 0)

    @property
    def term_costs(self) -> list[TermCost]:
        """Of the loss terms; nothing where one does not say."""
        updates = self.trainer.updates_per_step
        return [calls.cost(name, term, updates) for name, term in self.algorithm.terms.items()]


@dataclass(frozen=True)
class Memory:
    """Bytes by part while answers are sampled and while the policy learns. What stands in both is there all the time."""

    rollout: Mapping[str, int]
    update: Mapping[str, int]

    @property
    def peak(self) -> int:
        return max(sum(self.rollout.values()), sum(self.update.values()))


def micro_batches(settings: Settings, groups: Sequence[Lengths], layout: str | None = None) -> list[Pass]:
    """The passes of one optimizer step that learns from these groups."""
    trainer = settings.trainer
    return settings.division.passes(groups, layout or trainer.layout, trainer.max_tokens_per_microbatch)


def weights_bytes(shape: ShapeConfig, dtype: str) -> int:
    """The weights as `model.dtype` holds them: in bfloat16 the matrices, all else in float32, the embedding too."""
    halved = cost.matrix_parameters(shape) + (0 if shape.tied_embeddings else cost.head_parameters(shape))
    return BYTES["float32"] * cost.parameters(shape) - (BYTES["float32"] - BYTES[dtype]) * halved


def standing(settings: Settings) -> dict[str, int]:
    """What is there from the first optimizer step to the last."""
    shape, model, trainer = settings.shape, settings.model, settings.trainer
    adapters = BYTES["float32"] * settings.trained if settings.adapters else 0
    # with adapters the reference is the policy's own weights with the adapters off
    copied = settings.has_reference and not settings.adapters
    holders = settings.holders
    found = {
        "weights": (weights_bytes(shape, model.dtype) + adapters) // holders,
        "reference": weights_bytes(shape, trainer.reference_dtype) // holders if copied else 0,
        "optimizer": int(MOMENT_BYTES[trainer.optimizer.name] * settings.trained) // holders,
    }
    if any(term.keeps_weights for term in settings.term_costs):
        found["terms' weights"] = BYTES["float32"] * settings.trained
    ppo = settings.algorithm.ppo
    if ppo is not None:
        # its passes come after the policy's, keep no more and end in gradients that take no more than the policy's did
        found["critic"] = int((BYTES["float32"] + MOMENT_BYTES[ppo.optimizer.name]) * settings.critic_trained)
    return found | ({"libraries": LIBRARIES} if trainer.device == "cpu" else {})


def gathered_bytes(shape: ShapeConfig) -> int:
    """Of a pass of processes that share the weights: tables, the layer that is computed and the next one, and as much for their
    gradients before these are divided again."""
    tables = cost.head_parameters(shape) * (1 if shape.tied_embeddings else 2)
    return 2 * BYTES["float32"] * (tables + GATHERED_LAYERS * cost.matrix_parameters(shape) // shape.layers)


def engine_memory(settings: Settings, longest: int) -> EngineMemory:
    """What the engine says that it holds at most; one that does not say holds nothing here."""
    trainer = settings.trainer
    scale = RolloutScale(
        settings.shape, settings.sampling, settings.share(trainer.prompts_per_step), longest, trainer.dtype, trainer.device,
        cost.parameters(settings.shape),
    )  # fmt: skip
    return engine_calls.memory(settings.engine, scale)


def memory(settings: Settings, groups: Sequence[Lengths], asked: int | None = None) -> Memory:
    """Of both phases. `groups`: of the optimizer step that takes the most, the longest first, of which a process has its share;
    `asked`: tokens of the longest prompt that is answered, None: the longest of these."""
    asked = max(group.prompt for group in groups) if asked is None else asked
    return Memory(sampling_memory(settings, asked), learning_memory(settings, groups, asked))


def sampling_memory(settings: Settings, asked: int) -> dict[str, int]:
    """While prompts of at most so many tokens are answered."""
    found = {**standing(settings), **engine_memory(settings, asked).parts}
    if settings.trainer.shard and getattr(settings.engine, "shares_weights", False):
        found["whole weights to sample with"] = BYTES["float32"] * cost.parameters(settings.shape)
    return found


def learning_memory(settings: Settings, groups: Sequence[Lengths], asked: int) -> dict[str, int]:
    """While the policy learns; arguments as of `memory`."""
    passes = micro_batches(settings, groups[: settings.share(len(groups))])
    largest = max((_passing(settings, one) for one in passes), key=lambda parts: sum(parts.values()))
    gradients = BYTES["float32"] * settings.trained // settings.holders
    if len(passes) == 1:  # they come as the activations of the only backward pass go
        gradients = max(0, gradients - largest["activations"] - largest["logits"])
    found = {**standing(settings), "gradients": gradients, **largest}
    if settings.trainer.shard:
        found["gathered weights"] = gathered_bytes(settings.shape)
    if settings.trainer.device == "cpu":
        found["heap slack"] = int(HEAP_SLACK * (largest["activations"] + largest["logits"]))
    engine = engine_memory(settings, asked)
    return {**found, **(engine.parts if engine.stays else {})}


def _passing(settings: Settings, one: Pass) -> dict[str, int]:
    """What a pass that learns holds beside what stands."""
    from gapo_cli.models.packing.chunked_logprobs import chunk_tokens

    shape, trainer = settings.shape, settings.trainer
    positions = chunk_tokens(trainer.logprob_chunk_tokens, one.predicted, shape.vocabulary) or one.predicted
    parts = {
        "activations": cost.activations(shape, one, trainer.dtype, settings.adapters, trainer.gradient_checkpointing),
        "logits": cost.logits(shape, positions),
    }
    # a term's pass of all of a micro-batch's prompts is there together with the pass that it is added to
    parts = {name: size * (1 + sum(term.backward > 0 for term in settings.term_costs)) for name, size in parts.items()}
    if trainer.dtype == "bfloat16":
        parts["half-precision weights"] = _cast_bytes(settings)
    return parts


def _cast_bytes(settings: Settings) -> int:
    """The copies that autocast makes of float32 matrices for a pass. Where weights are shared and layers checkpointed, they go with
    their layer."""
    shape = settings.shape
    if settings.trainer.shard and settings.trainer.gradient_checkpointing:
        return BYTES["bfloat16"] * (cost.matrix_parameters(shape) // shape.layers + cost.head_parameters(shape))
    head, held = cost.head_parameters(shape), settings.model.dtype == "bfloat16"
    cast = (0 if held else cost.matrix_parameters(shape)) + (0 if held and not shape.tied_embeddings else head)
    return BYTES["bfloat16"] * cast
