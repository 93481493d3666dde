"""The policy objective, token by token: clipped policy gradient and importance weights.

All functions take flat tensors over the N completion tokens of a micro-batch. How tokens are averaged is decided once for the
whole mini-batch, by `token_weights`; from there on a loss is a plain sum over tokens, so neither the loss nor its gradient
depends on how the mini-batch is cut into micro-batches. (verl and TRL average micro-batch means, where it does.)

Clipping: PPO (arXiv:1707.06347) with the two bounds of DAPO (arXiv:2503.14476) and dual clip (arXiv:1912.09729).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gapo_cli.training.objectives.bounds import LOG_RATIO_BOUND


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """One micro-batch's part of a mini-batch: 0-dim tensors, each a sum over tokens times their weights, so that micro-batches
    add up field by field. Only `loss` carries a gradient.

    Under token-mean and seq-mean-token-mean the weights of a mini-batch add up to 1 and the added sums are verl's means. Under
    the other two aggregations divide the added sums by the added `weight`.
    """

    loss: Tensor
    clip_fraction: Tensor
    """Tokens that the clip holds back: verl's actor/pg_clipfrac."""
    clip_fraction_lower: Tensor
    """Tokens of negative advantage that the dual clip holds back: verl's actor/pg_clipfrac_lower."""
    kl: Tensor
    """-(logp - logp_old), the k1 estimate of how far the policy has moved since the rollouts: verl's actor/ppo_kl."""
    weight: Tensor
    """Σ of the weights themselves."""


def policy_loss(
    logprobs: Tensor,
    logprobs_old: Tensor,
    advantages: Tensor,
    weights: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
    importance_weights: Tensor | None = None,
) -> PolicyLoss:
    """Clipped policy gradient loss of N tokens; all tensors (N,).

    ρ = exp(logp - logp_old); ℓ = max(-A·ρ, -A·clip(ρ, 1 - clip_low, 1 + clip_high)), and for A < 0 at most -A·dual_clip.
    `importance_weights` multiply ℓ after clipping. Gradients flow through `logprobs` only: pass the detached current
    log-probabilities as `logprobs_old` where one optimizer step is made for each rollout batch.
    """
    log_ratio = (logprobs - logprobs_old.detach()).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    pessimistic = torch.maximum(unclipped, clipped)
    ceiling = -advantages * dual_clip
    negative = advantages < 0
    token_losses = torch.where(negative, torch.minimum(pessimistic, ceiling), pessimistic)
    if importance_weights is not None:
        token_losses = token_losses * importance_weights.detach()
    return PolicyLoss(
        loss=_weighted_sum(token_losses, weights),
        clip_fraction=_weighted_sum(clipped > unclipped, weights),
        clip_fraction_lower=_weighted_sum(negative & (pessimistic > ceiling), weights),
        kl=_weighted_sum(-log_ratio.detach(), weights),
        weight=weights.sum(),
    )


def truncated_importance_weights(logprobs: Tensor, engine_logprobs: Tensor, cap: float) -> Tensor:
    """min(π / π_engine, cap) at each token, without gradient: (N,), (N,) → (N,). Corrects for an engine whose kernels give
    other log-probabilities than the trainer's, at the same weights; `logprobs` are the trainer's at the time of the rollout."""
    return (logprobs - engine_logprobs).detach().exp().clamp(max=cap)


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum()
