"""The door for terms that are added to a policy loss: what a `LossTerm` (gapo_cli/interfaces.py) is called with.

A term that needs another forward pass makes it itself, with `completion_logprobs` under `policy.autocast()`: of `batch` under
other weights, or of another batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import Completions, Prompts, TokenBatch


@dataclass(frozen=True, slots=True)
class ComputedTokens:
    """The N completion tokens of one forward pass, in the order of `batch`; tensors of one value a token are (N,) float32.

    `logprobs`: under the policy, with a gradient; `logprobs_old`: under the policy that sampled, or `logprobs` without
    gradient where one optimizer step is made of a rollout batch; `logprobs_ref`: under the starting model, None where no term
    needs it; `entropy`: of the policy's distribution, with a gradient where a term needs it. `weights`: what each token
    weighs in the loss of the mini-batch. `states` (N, hidden size): what the head made the distributions of, with a gradient.
    `prompts` and `completions`: the token ids that `batch` lays out as `layout` says, group by group. `reference`: the starting model, for `completion_logprobs`, or None;
    `temperature`: that of the rollouts."""

    logprobs: Tensor
    logprobs_old: Tensor
    logprobs_ref: Tensor | None
    entropy: Tensor
    advantages: Tensor
    weights: Tensor
    states: Tensor
    batch: TokenBatch
    prompts: Prompts
    completions: Completions
    layout: str
    policy: LoadedModel
    reference: Any
    temperature: float
