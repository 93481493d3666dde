"""KL to the starting model, as a term of the loss: what holds a policy near where it began (GRPO, arXiv:2402.03300)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gapo_cli.config.checks import require
from gapo_cli.training.objectives.bounds import KL_BOUND, LOG_RATIO_BOUND

if TYPE_CHECKING:  # building a term loads no torch
    from torch import Tensor

    from gapo_cli.training.objectives.terms import ComputedTokens


@dataclass(frozen=True)
class LowVarKL:
    """KL(policy ‖ starting model) at each token, by `low_var_kl`. The coefficient is 0 or more, or it raises UserError."""

    coefficient: float
    every_token: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    needs_entropy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.coefficient >= 0, f"LowVarKL: coefficient={self.coefficient}: need 0 or more")

    def __call__(self, tokens: ComputedTokens) -> Tensor:
        return low_var_kl(tokens.logprobs, tokens.logprobs_ref)


def low_var_kl(logprobs: Tensor, logprobs_ref: Tensor) -> Tensor:
    """The k3 estimate of KL(policy ‖ reference) at each token: exp(d) - d - 1 with d = logp_ref - logp, never negative.
    (N,), (N,) → (N,). Schulman 2020, http://joschu.net/blog/kl-approx.html; verl's low_var_kl, same bounds."""
    difference = (logprobs_ref.detach() - logprobs).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return (difference.exp() - difference - 1).clamp(max=KL_BOUND)
