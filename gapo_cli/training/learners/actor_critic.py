"""Proximal policy optimisation with a critic (algorithm=ppo, arXiv:1707.06347): advantages of tokens instead of groups.

Before the first optimizer step of a rollout batch the critic gives each token its value, from the state before it; rewards
(an answer's at its last token, minus a KL penalty a token where asked for) and values become advantages and returns. Then policy
and critic make one step each per mini-batch. A critic that is a head on the policy's trunk learns in the policy's own passes, one
with a trunk of its own in passes of its own.

No token is left out of a pass: the critic learns from each, and a token's advantage is 0 only where its answer has no reward.
Several ranks divide the groups, add up the gradients of both, and whiten advantages over the tokens of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from gapo_cli import metric_names as names
from gapo_cli.config.algorithm import PPOConfig
from gapo_cli.models.critic import Critic
from gapo_cli.processes.ranks import ALONE, Ranks
from gapo_cli.records import Advantages, Group
from gapo_cli.training.batches.mini_batches import MicroBatch, MiniBatch
from gapo_cli.training.learners.optimizer import Optimizer, StepResult
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.learners.update_metrics import UpdateMetrics
from gapo_cli.training.objectives.returns import explained_variance, generalised_advantages, whitened
from gapo_cli.training.objectives.value import ValueLoss, value_loss


def before_the_critic(rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages:
    """Takes the place of an estimator until the critic has given a rollout batch its advantages: zeros."""
    nothing = np.full(len(rewards), np.nan)
    return Advantages(np.zeros_like(rewards), nothing, nothing, nothing)


@dataclass
class CriticMetrics:
    """The critic's numbers of one update. Means over its optimizer steps; of the tokens of a mini-batch by their weights. Tokens are
    those of all `ranks`, each of which adds its own."""

    ranks: Ranks = ALONE
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)

    def add(self, loss: ValueLoss) -> None:
        for name, value in (
            (names.VALUE_LOSS, loss.loss),
            (names.VALUE_CLIPPED, loss.clip_fraction),
            (names.VALUE_PREDICTED, loss.value),
        ):
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()

    def is_finite(self) -> bool:
        """Whether all that this rank has added since the last step is."""
        return not self.sums or bool(torch.stack(list(self.sums.values())).isfinite().all())

    def add_step(self, result: StepResult, weight: float) -> None:
        """Closes a mini-batch whose tokens weigh `weight` together."""
        sums, self.sums = self.ranks.sums(self.sums), {}
        if not result.skipped:
            of_weight = {names.VALUE_LOSS: 1.0}
            shares = {name: float(value) / of_weight.get(name, weight) for name, value in sums.items()}
            self.rows.append({**shares, names.CRITIC_NORM: result.grad_norm})
        self.steps.append(result)

    def row(self) -> dict[str, float]:
        found = {name: float(np.mean([row[name] for row in self.rows])) for name in (self.rows[0] if self.rows else ())}
        return found | {names.CRITIC_RATE: self.steps[-1].learning_rate}


@dataclass
class ActorCriticUpdate:
    """Learns from rollout batches: `actor` the policy, and `optimizer` the `critic`. Where that is a head on the policy's trunk,
    it takes part in the actor's passes."""

    actor: PolicyUpdate
    critic: Critic
    optimizer: Optimizer
    config: PPOConfig
    learnt: CriticMetrics = field(default_factory=CriticMetrics)

    def __post_init__(self) -> None:
        if not self.critic.own:
            self.actor.beside = self._beside

    @property
    def ranks(self) -> Ranks:
        return self.actor.ranks

    def update(
        self, groups: Sequence[Group], fresh: Sequence[bool], *, warming: bool
    ) -> tuple[dict[str, float], tuple[Group, ...]]:
        """All epochs over the groups. `warming`: only the critic learns. Returns the metrics, and the groups with the mean of its
        tokens' advantages for each completion, and for a baseline the mean value of a prompt's first token. Raises TooManySkipped."""
        metrics, self.learnt = UpdateMetrics(self.ranks), CriticMetrics(self.ranks)
        mini_batches = self.actor.prepare(groups, fresh, metrics)
        row = self._estimate(mini_batches)
        estimated = tuple(group for one in mini_batches for group in with_token_means(one, self.ranks))
        for _ in range(self.actor.trainer.epochs_per_step):
            for mini_batch in mini_batches:
                skipped = not warming and self.actor.step(mini_batch, metrics).skipped
                if warming or self.critic.own:
                    self.ranks.together(partial(self._own_passes, mini_batch))
                result = self.optimizer.step(self.learnt.is_finite())
                self.learnt.add_step(result, mini_batch.weight)
                self.actor.guard.saw(skipped or result.skipped, mini_batch.groups, metrics.broken_terms)
        return {**metrics.row(), **self.learnt.row(), **row}, estimated

    def _estimate(self, mini_batches: Sequence[MiniBatch]) -> dict[str, float]:
        """Fills in values, returns and advantages of all tokens; those of answers without reward have advantage 0, and returns
        that are their values."""
        own = self.ranks.together(partial(self._estimate_own, mini_batches))
        of_ranks = self.ranks.gather(own.cpu())
        values, returns, advantages, penalties = torch.cat(of_ranks, dim=1)
        if self.config.whiten:
            advantages = whitened(advantages)
        mine = advantages.split([one.shape[1] for one in of_ranks])[self.ranks.rank].to(own)
        start = 0
        for micro in micro_batches_of(mini_batches):
            counted = micro.returns.isfinite()
            stop = start + int(counted.sum())
            micro.advantages = torch.zeros_like(micro.values_old).masked_scatter(counted, mine[start:stop])
            micro.returns = torch.where(counted, micro.returns, micro.values_old)
            start = stop
        return value_metrics(values, returns) | self._penalty_metrics(penalties)

    def _estimate_own(self, mini_batches: Sequence[MiniBatch]) -> torch.Tensor:
        """Values and returns of this rank's micro-batches, filled in; NaN returns where there is no reward. Returns (4, tokens) of
        all others: values, returns, advantages, what is taken from the reward."""
        found = [torch.zeros(4, 0, device=self.actor.policy.device)]
        for mini_batch in mini_batches:
            rewards = np.concatenate([group.rewards for group in mini_batch.groups])
            for micro in mini_batch.micro_batches:
                micro.values_old = self._values(micro)
                own = torch.from_numpy(rewards[micro.places]).to(micro.values_old)
                penalty = self._kl_penalty(micro)
                of_tokens = at_last_tokens(own, micro.lengths) - penalty
                advantages, micro.returns = generalised_advantages(
                    of_tokens, micro.values_old, micro.lengths, self.config.gamma, self.config.gae_lambda
                )
                of_all = torch.stack([micro.values_old, micro.returns, advantages, penalty])
                found.append(of_all[:, micro.returns.isfinite()])
        return torch.cat(found, dim=1)

    def _values(self, micro: MicroBatch) -> torch.Tensor:
        batch = self.actor.token_batch(micro)
        self.actor.count.passed(batch)
        with torch.no_grad():
            return self.critic.values(batch)

    def _kl_penalty(self, micro: MicroBatch) -> torch.Tensor:
        """(N,) what is taken from each token's reward: `kl_in_reward` times its log-probability above the starting model's."""
        if not self.config.kl_in_reward:
            return torch.zeros_like(micro.weights)
        micro.logprobs_ref = self.actor.logprobs(self.actor.reference, micro)
        sampled = micro.logprobs_engine if micro.logprobs_old is None else micro.logprobs_old
        return self.config.kl_in_reward * (sampled - micro.logprobs_ref)

    def _penalty_metrics(self, penalties: torch.Tensor) -> dict[str, float]:
        if not self.config.kl_in_reward:
            return {}
        return {names.REWARD_KL: float(penalties.mean()) / self.config.kl_in_reward}

    def _own_passes(self, mini_batch: MiniBatch) -> None:
        count = self.actor.count
        for micro in mini_batch.micro_batches:
            batch = self.actor.token_batch(micro)
            (count.learnt if self.critic.own else count.passed)(batch)
            self._loss(micro, self.critic.values(batch)).backward()

    def _beside(self, micro: MicroBatch, states: torch.Tensor) -> torch.Tensor:
        """The value loss of a head in a pass of the policy. The trunk gets a share of its gradient, the head all of it."""
        share, still = self.config.trunk_weight, states.detach()
        return self._loss(micro, self.critic.of_states(still + share * (states - still) if share else still))

    def _loss(self, micro: MicroBatch, values: torch.Tensor) -> torch.Tensor:
        found = value_loss(values, micro.values_old, micro.returns, micro.weights, self.config.value_clip)
        self.learnt.add(found)
        return found.loss


def at_last_tokens(rewards: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """rewards (completions,), lengths: tokens of each → (N,) with each reward at its completion's last token, 0 elsewhere. An answer
    whose reward is missing (NaN) has it at all its tokens."""
    counts = torch.tensor(lengths, device=rewards.device)
    found = torch.where(rewards.isnan(), rewards, 0.0).repeat_interleave(counts)
    found[counts.cumsum(0) - 1] = rewards
    return found


def micro_batches_of(mini_batches: Sequence[MiniBatch]) -> Iterator[MicroBatch]:
    return (micro for mini_batch in mini_batches for micro in mini_batch.micro_batches)


def with_token_means(mini_batch: MiniBatch, ranks: Ranks = ALONE) -> Iterator[Group]:
    """The groups with the mean advantage of its tokens for each completion, and for a baseline the mean of their first values."""
    means, firsts = np.zeros((2, sum(len(group.completions) for group in mini_batch.groups)))
    for micro in mini_batch.micro_batches:
        for place, advantages, values in zip(
            micro.places, micro.advantages.split(micro.lengths), micro.values_old.split(micro.lengths), strict=True
        ):
            means[place], firsts[place] = float(advantages.mean()), float(values[0])
    means, firsts = ranks.total(np.stack([means, firsts]))  # a completion is one rank's, and 0 on the others
    start = 0
    for group in mini_batch.groups:
        own = slice(start, start + len(group.completions))
        yield replace(group, advantages=means[own], baseline=float(firsts[own].mean()))
        start = own.stop


def value_metrics(values: torch.Tensor, returns: torch.Tensor) -> dict[str, float]:
    """Of the values before the update: over the tokens of the rollout batch."""
    if not len(values):
        return {}
    row = {
        f"{name}/{what}": float(getattr(tensor, what)())
        for name, tensor in ((names.VALUES, values), (names.RETURNS, returns))
        for what in ("mean", "max", "min")
    }
    explained = explained_variance(values, returns)
    return row if explained is None else row | {names.EXPLAINED: explained}
