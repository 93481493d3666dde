"""What the checks of invariants are tried on: a policy with its engine and estimator, a few answers of it, their gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.doctor.made_up_tasks import RENAMED, probe_tasks
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Engine, Estimator, Template
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.processes.ranks import ALONE, Ranks
from gapo_cli.records import Completion, Group
from gapo_cli.rollouts.advantages import with_advantages
from gapo_cli.rollouts.encoding import EncodedTask, encode_tasks, split_by_length
from gapo_cli.rollouts.engine_agreement import TOLERANCE, coarser
from gapo_cli.rollouts.sampling import sample_encoded, with_stops
from gapo_cli.seeds import derived_seed
from gapo_cli.training.batches.mini_batches import cut_mini_batch
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.learners.update_metrics import UpdateMetrics

ANSWERS, ANSWER_TOKENS = 4, 16
"""A group of a check, and its answers, are at most so large: they find the same things as large ones, in seconds."""
LEARNT_GROUPS = 3
"""In the mini-batch whose gradient is looked at."""
STEP = {"float32": 1e-3, "bfloat16": 1e-2}
"""Learning rate of the step that moves the weights, by what passes compute in: far enough to be seen beside rounding."""


@dataclass
class Subject:
    """What is examined. `scratch`: a folder on the disk that checkpoints will lie on; `ranks`: the processes that examine, each of
    them a subject of its own. Where these share the weights, the engine is one of all of them: they look at the same answers, in as
    many passes."""

    policy: LoadedModel
    engine: Engine
    template: Template
    estimator: Estimator
    algorithm: AlgorithmConfig
    sampling: SamplingConfig
    trainer: TrainerConfig
    seed: int
    scratch: Path
    ranks: Ranks = ALONE
    optimizer: Optimizer = field(init=False)

    def __post_init__(self) -> None:
        settings = replace(self.trainer.optimizer, learning_rate=STEP[self.policy.dtype], warmup_steps=0, decay_from=1.0)
        self.optimizer = Optimizer(self.policy.model.parameters(), settings, total_updates=1)
        # no reference: it would be another pass, laid out as the policy's
        self.algorithm = self.algorithm.policy_alone()
        tokens = min(self.sampling.max_new_tokens, ANSWER_TOKENS)
        self.sampling = replace(self.sampling, group_size=min(self.sampling.group_size, ANSWERS), max_new_tokens=tokens)
        self.sampling = with_stops(self.sampling, self.template)

    @cached_property
    def encoded(self) -> Sequence[EncodedTask]:
        found = encode_tasks(self.policy, self.template, probe_tasks(len(RENAMED)))
        context = self.policy.config.context_length
        fitted = split_by_length(found, context, self.sampling.max_new_tokens)
        if len(fitted.kept) < 2:
            longest = max(len(one.token_ids) for one in found)
            raise UserError(
                f"model.context_length={context}: the short prompts of the checks have up to {longest} tokens; raise it to "
                f"{longest + self.sampling.max_new_tokens} at least"
            )
        return fitted.kept

    @cached_property
    def groups(self) -> list[Group]:
        """Answers with rewards drawn at random: what they are worth is not what is examined. All advantages are made negative:
        where a sure model gives one answer again and again, those of both signs add up to a gradient that is rounding alone."""
        sampled = sample_encoded(self.engine, self.template, self.encoded, self.sampling, self.seeds)
        random = np.random.default_rng(self.seed)
        groups = []
        for one in sampled:
            rewards = random.permutation(np.arange(len(one.completions)) / 64)
            groups.append(Group(one.task, one.prompt_token_ids, one.completions, {}, rewards, rewards))
        return [replace(group, advantages=-1 - np.abs(group.advantages)) for group in with_advantages(groups, self.estimator)]

    @property
    def seeds(self) -> list[int]:
        return [derived_seed(self.seed, index) for index in range(len(self.encoded))]

    def generate(self, sampling: SamplingConfig) -> list[tuple[Completion, ...]]:
        return self.engine.generate([one.token_ids for one in self.encoded], sampling, self.seeds)

    @property
    def tolerance(self) -> float:
        """Nats, of a mean over tokens."""
        if self.trainer.logprob_tolerance is not None:
            return self.trainer.logprob_tolerance
        return TOLERANCE[coarser(getattr(self.engine, "dtype", self.policy.dtype), self.policy.dtype)]

    def gradient(
        self, layout: str, budget: int, groups: Sequence[Group] | None = None, ranks: Ranks = ALONE
    ) -> list[torch.Tensor]:
        """The gradient of one mini-batch of `groups` (None: its own), by parameter, as the product's own update computes it;
        with `ranks`, this one's part of it. Of a model whose weights are shared the gradient is too, and all their parts are added up."""
        trainer = replace(self.trainer, layout=layout)
        update = PolicyUpdate(self.policy, None, self.optimizer, self.algorithm, trainer, self.sampling.temperature)
        groups = (self.groups if groups is None else groups)[:LEARNT_GROUPS]
        batch = cut_mini_batch(
            groups, [True] * len(groups), self.algorithm, layout, budget, self.policy.device, ranks, evenly=self.policy.sharded
        )
        update.accumulate(batch, UpdateMetrics())
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.optimizer.parameters]
        if self.policy.sharded and ranks.alone:  # each has computed all of it
            found = [one / self.ranks.count for one in found]
        for parameter in self.optimizer.parameters:
            parameter.grad = None
        return found

    @property
    def narrow(self) -> int:
        """A micro-batch budget that divides the mini-batch, and its groups too."""
        groups = self.groups[:LEARNT_GROUPS]
        longest = max(len(group.prompt_token_ids) for group in groups)
        return longest + max(len(one.token_ids) for group in groups for one in group.completions)

    @property
    def wide(self) -> int:
        """The budget that training would have, or one that cuts less than `narrow` does."""
        asked = self.trainer.max_tokens_per_microbatch
        return asked and max(asked, 2 * self.narrow)
