"""The terms that are added to a policy loss."""

from __future__ import annotations

from torch import Tensor

from gapo_cli.training.objectives.clipped_policy import LOG_RATIO_BOUND

# One token's KL estimate is cut here, so that a single token of vanished probability cannot outweigh a batch. verl's bound.
KL_BOUND = 10.0


def low_var_kl(logprobs: Tensor, logprobs_ref: Tensor) -> Tensor:
    """The k3 estimate of KL(policy ‖ reference) at each token: exp(d) - d - 1 with d = logp_ref - logp, never negative.
    (N,), (N,) → (N,). Schulman 2020, http://joschu.net/blog/kl-approx.html; verl's low_var_kl, same bounds."""
    difference = (logprobs_ref.detach() - logprobs).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return (difference.exp() - difference - 1).clamp(max=KL_BOUND)
