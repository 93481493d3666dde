"""A bound on how much the policy changes from update to update, as a term of the loss: RobustVLA's smoothness term (arXiv:2511.01331).

At each position of an answer KL(pi before the rollout batch || pi), over all tokens of the vocabulary and not only the one that was
sampled. Until the first optimizer step of a batch the two are the same, and the term costs no pass; from then on it costs one without
gradient. With one optimizer step a rollout batch it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from gapo_cli.config.checks import require
from gapo_cli.interfaces import TermCost

if TYPE_CHECKING:  # building a term loads no torch
    from torch import Tensor
    from torch.nn import Module

    from gapo_cli.training.objectives.terms import ComputedTokens


@dataclass
class Smoothness:
    """Keeps a copy of the trained weights, of adapters those alone. The coefficient is 0 or more, or it raises UserError."""

    coefficient: float
    before: dict[int, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """By the id of a trained parameter: what it was before the rollout batch."""
    every_token: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    needs_entropy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.coefficient >= 0, f"Smoothness: coefficient={self.coefficient}: need 0 or more")

    def cost(self, updates: int) -> TermCost:
        return TermCost(forward=1 - 1 / updates, keeps_weights=True)

    def before_update(self, policy: Any) -> None:
        for parameter in policy.model.parameters():
            if parameter.requires_grad and id(parameter) in self.before:
                self.before[id(parameter)].copy_(parameter.detach())
            elif parameter.requires_grad:
                self.before[id(parameter)] = parameter.detach().clone()

    def __call__(self, tokens: ComputedTokens) -> Tensor:
        import torch
        from torch.func import functional_call

        from gapo_cli.models.packing.divergence import token_divergence
        from gapo_cli.models.packing.logprobs import predicting_states

        model = tokens.policy.model
        if not self._has_moved(model):
            return torch.zeros_like(tokens.logprobs)
        trunk, head = model.get_decoder(), model.get_output_embeddings()

        def trunk_before(**inputs: Any) -> Any:
            return functional_call(trunk, self._weights(trunk), kwargs=inputs)

        with tokens.policy.autocast():
            with torch.no_grad():
                states = predicting_states(trunk_before, tokens.batch)
            head_before = partial(functional_call, head, self._weights(head))
            return token_divergence(head_before, states, head, tokens.states, tokens.temperature)

    def _has_moved(self, model: Module) -> bool:
        # the weights and not a counter of steps: one that was skipped has moved nothing
        trained = (one for one in model.parameters() if one.requires_grad)
        return any(not parameter.equal(self.before[id(parameter)]) for parameter in trained)

    def _weights(self, module: Module) -> dict[str, Tensor]:
        return {name: self.before[id(one)] for name, one in module.named_parameters() if id(one) in self.before}
