"""A critic: a number for the state before each completion token, the reward that is expected from there on.

critic=copy: a model of its own, which begins as the policy does. Its frozen weights are the policy's, so with adapters it costs
further adapters only. critic=head: a head on the policy's own trunk. Either head begins with zeros: before it has learnt, every
value is 0.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gapo_cli.errors import CheckpointError
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import TokenBatch
from gapo_cli.models.packing.logprobs import predicting_states

HEAD = "value_head"


@dataclass(frozen=True)
class Critic:
    """`trunk` gives hidden states, `head` makes each a value. `own`: the trunk is the critic's and learns with it; else it is the
    policy's. `kind`: as `algorithm.critic`."""

    policy: LoadedModel
    trunk: torch.nn.Module
    head: torch.nn.Linear
    own: bool

    @property
    def kind(self) -> str:
        return "copy" if self.own else "head"

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name."""
        trunk = self.trunk.named_parameters() if self.own else ()
        named = {f"trunk.{name}": parameter for name, parameter in trunk if parameter.requires_grad}
        return named | {f"{HEAD}.{name}": parameter for name, parameter in self.head.named_parameters()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its weights for a checkpoint; `restore` is the inverse."""
        return {name: parameter.detach() for name, parameter in self.weights().items()}

    def values(self, batch: TokenBatch) -> torch.Tensor:
        """(N,) float32 of the states before the completion tokens of `batch`, with gradients to what is the critic's own, where
        gradients are enabled."""
        with self.policy.autocast(), torch.set_grad_enabled(self.own and torch.is_grad_enabled()):
            states = predicting_states(self.trunk, batch)
        return self.of_states(states)

    def of_states(self, states: torch.Tensor) -> torch.Tensor:
        """(N, hidden size) → (N,), in float32 whatever the states are in."""
        with torch.autocast(states.device.type, enabled=False):
            return self.head(states.float()).squeeze(-1)

    def restore(self, tensors: Mapping[str, torch.Tensor], checkpoint: object) -> None:
        """Takes over what `tensors` gave. Raises CheckpointError where they are none, or another critic's."""
        own = self.weights()
        if not tensors:
            raise CheckpointError(
                f"resume={checkpoint}: the checkpoint has no critic, it was trained without one; resume with the algorithm that it "
                f"was trained with, or start a new run from its model by model.path={checkpoint}"
            )
        if {name: value.shape for name, value in tensors.items()} != {name: value.shape for name, value in own.items()}:
            raise CheckpointError(
                f"resume={checkpoint}: the checkpoint's critic is not this run's algorithm.critic={self.kind} of this model; "
                "resume with the settings that it was trained with"
            )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(tensors[name])


def make_critic(policy: LoadedModel, kind: str) -> Critic:
    """`kind`: as `algorithm.critic`."""
    trunk, own = policy.model.get_decoder(), kind == "copy"
    if own:
        frozen = {id(one): one for one in trunk.parameters() if not one.requires_grad}
        trunk = copy.deepcopy(trunk, frozen)  # what is in the memo is shared, not copied
    size = policy.model.get_output_embeddings().weight.shape[1]
    head = torch.nn.Linear(size, 1, device=policy.device)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    return Critic(policy, trunk, head, own)
