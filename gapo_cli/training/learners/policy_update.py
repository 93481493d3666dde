"""The policy update: a rollout batch in mini-batches, each of them one optimizer step.

Old log-probabilities: with one optimizer step per rollout batch they are the current ones, detached, and cost no pass;
else they are the engine's own or, with `recompute_logprobs`, those of one extra pass before the first step. Groups that
an earlier policy sampled (dynamic sampling's surplus) need real ones in any case. Objective:
`gapo_cli.training.objectives.clipped_policy` and the terms that `algorithm.terms` adds. What has no gradient gets no pass
(`gapo_cli.training.batches.mini_batches`). Several ranks divide the groups of a mini-batch, and add up their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import batch_at_work
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import TokenBatch
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.processes.ranks import ALONE, Ranks
from gapo_cli.records import Group
from gapo_cli.training.batches.mini_batches import MicroBatch, MiniBatch, cut_mini_batch
from gapo_cli.training.guards import SkipGuard
from gapo_cli.training.learners.optimizer import Optimizer, StepResult
from gapo_cli.training.learners.token_count import TokenCount
from gapo_cli.training.learners.update_metrics import UpdateMetrics
from gapo_cli.training.objectives import calls
from gapo_cli.training.objectives import clipped_policy as losses
from gapo_cli.training.objectives.terms import ComputedTokens


@dataclass
class PolicyUpdate:
    """Learns from rollout batches. `reference`: the frozen starting model, or None where no term needs it (then no
    reference pass is made). `temperature`: that of the rollouts, for log-probabilities are of what was sampled from.
    `beside`: what a value head on the trunk adds to the loss of a pass, given the states that tokens are predicted from."""

    policy: LoadedModel
    reference: torch.nn.Module | None
    optimizer: Optimizer
    algorithm: AlgorithmConfig
    trainer: TrainerConfig
    temperature: float
    guard: SkipGuard = field(default_factory=SkipGuard)
    count: TokenCount = field(default_factory=TokenCount)
    beside: Callable[[MicroBatch, torch.Tensor], torch.Tensor] | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if (self.reference is not None) != self.algorithm.needs_reference:
            raise ValueError("a reference model is needed where a term compares with it, and only there")

    def update(self, groups: Sequence[Group], fresh: Sequence[bool]) -> dict[str, float]:
        """All epochs over the groups, which have advantages. `fresh`: which of them the present policy sampled. Returns
        the `actor/*` and `training/*` metrics. Raises TooManySkipped with the groups of the mini-batch that was one too many, and
        PartError with those of the one that a term fails on."""
        metrics = UpdateMetrics(self.ranks)
        mini_batches = self.prepare(groups, fresh, metrics)
        for _ in range(self.trainer.epochs_per_step):
            for mini_batch in mini_batches:
                self.guard.saw(self.step(mini_batch, metrics).skipped, mini_batch.groups, metrics.broken_terms)
        return metrics.row()

    def prepare(self, groups: Sequence[Group], fresh: Sequence[bool], metrics: UpdateMetrics) -> list[MiniBatch]:
        """The groups in mini-batches, with old log-probabilities where the first pass of a step does not give them."""
        size, ranks = self.trainer.prompts_per_mini_batch, self.ranks
        mini_batches = [
            cut_mini_batch(
                groups[start : start + size],
                fresh[start : start + size],
                self.algorithm,
                self.trainer.layout,
                self.trainer.max_tokens_per_microbatch,
                self.policy.device,
                ranks,
                evenly=self.policy.sharded,
            )
            for start in range(0, len(groups), size)
        ]
        for mini_batch in mini_batches:
            metrics.add_tokens(mini_batch.computed_tokens, mini_batch.tokens)
        with batch_at_work(lambda: groups):
            for name, term in self.algorithm.terms.items():
                calls.before_update(name, term, self.policy)
        if len(mini_batches) * self.trainer.epochs_per_step > 1 or not all(fresh):
            ranks.together(lambda: self._fill_all_old_logprobs(mini_batches, metrics), waiting=self.policy.sharded)
        return mini_batches

    def step(self, mini_batch: MiniBatch, metrics: UpdateMetrics) -> StepResult:
        """One optimizer step."""
        with batch_at_work(lambda: mini_batch.groups):
            self.ranks.together(lambda: self.accumulate(mini_batch, metrics), waiting=self.policy.sharded)
        result = self.optimizer.step(metrics.is_finite())
        metrics.add_step(result, mini_batch.weight)
        return result

    def accumulate(self, mini_batch: MiniBatch, metrics: UpdateMetrics) -> None:
        """Adds the gradient of the mini-batch's loss to the parameters', micro-batch by micro-batch."""
        for micro in mini_batch.micro_batches:
            self._backward(micro, metrics)

    def _backward(self, micro: MicroBatch, metrics: UpdateMetrics) -> None:
        algorithm = self.algorithm
        batch = self.token_batch(micro)
        self.count.learnt(batch)
        entropy = "gradient" if any(term.needs_entropy for term in algorithm.terms.values()) else "value"
        with self.policy.autocast():
            current = completion_logprobs(
                self.policy.model, batch, self.temperature, entropy, self.trainer.logprob_chunk_tokens
            )
        recomputed = self.trainer.recompute_logprobs and micro.logprobs_old is not None
        if not metrics.steps and not recomputed:
            # no step has been made yet: these are of the weights that the engine sampled from
            metrics.add_mismatch(micro, current.logprobs)
        old = current.logprobs.detach() if micro.logprobs_old is None else micro.logprobs_old
        importance = None
        if algorithm.importance_cap is not None:
            importance = losses.truncated_importance_weights(old, micro.logprobs_engine, algorithm.importance_cap)
        policy_loss = losses.policy_loss(
            current.logprobs,
            old,
            micro.advantages,
            micro.weights,
            clip_low=algorithm.clip_low,
            clip_high=algorithm.clip_high,
            dual_clip=algorithm.dual_clip,
            importance_weights=importance,
        )
        if self.reference is not None and micro.logprobs_ref is None:
            micro.logprobs_ref = self.logprobs(self.reference, micro)
        tokens = ComputedTokens(
            logprobs=current.logprobs,
            logprobs_old=old,
            logprobs_ref=micro.logprobs_ref,
            entropy=current.entropy,
            advantages=micro.advantages,
            weights=micro.weights,
            states=current.states,
            batch=batch,
            prompts=micro.prompts,
            completions=micro.completions,
            layout=self.trainer.layout,
            policy=self.policy,
            reference=self.reference,
            temperature=self.temperature,
        )
        loss, terms = policy_loss.loss, {}
        for name, term in algorithm.terms.items():
            terms[name] = (micro.weights * calls.values(name, term, tokens)).sum()
            loss = loss + term.coefficient * terms[name]
        if self.beside is not None:
            loss = loss + self.beside(micro, current.states)
        loss.backward()
        metrics.add_micro_batch(policy_loss, micro.weights, current.entropy, terms)

    def _fill_all_old_logprobs(self, mini_batches: Sequence[MiniBatch], metrics: UpdateMetrics) -> None:
        for mini_batch in mini_batches:
            for micro in mini_batch.micro_batches:
                self._fill_old_logprobs(micro, metrics)

    def _fill_old_logprobs(self, micro: MicroBatch, metrics: UpdateMetrics) -> None:
        if self.trainer.recompute_logprobs:
            recomputed = self.logprobs(self.policy.model, micro)
            metrics.add_mismatch(micro, recomputed)
            # what an earlier policy sampled has its log-probabilities from then only from the engine
            micro.logprobs_old = torch.where(micro.fresh, recomputed, micro.logprobs_engine)
        else:
            micro.logprobs_old = micro.logprobs_engine

    def logprobs(self, model: torch.nn.Module, micro: MicroBatch) -> torch.Tensor:
        """Of the tokens of a micro-batch under `model`, without gradient."""
        batch, chunk = self.token_batch(micro), self.trainer.logprob_chunk_tokens
        self.count.passed(batch)
        with torch.no_grad(), self.policy.autocast():
            return completion_logprobs(model, batch, self.temperature, chunk=chunk).logprobs

    def token_batch(self, micro: MicroBatch) -> TokenBatch:
        return micro.token_batch(self.trainer.layout, self.policy.pad_token_id)
