"""An entropy bonus, as a term of the loss: what keeps a policy trying more than one answer (A3C, arXiv:1602.01783)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gapo_cli.config.checks import require

if TYPE_CHECKING:  # building a term loads no torch
    from torch import Tensor

    from gapo_cli.training.objectives.terms import ComputedTokens


@dataclass(frozen=True)
class EntropyBonus:
    """Minus the entropy of the distribution that each token was drawn from. The coefficient is 0 or more, or it raises
    UserError."""

    coefficient: float
    every_token: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    needs_entropy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.coefficient >= 0, f"EntropyBonus: coefficient={self.coefficient}: need 0 or more")

    def __call__(self, tokens: ComputedTokens) -> Tensor:
        return -tokens.entropy
