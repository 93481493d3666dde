"""Groups as the tensors of one optimizer step, and the cut into micro-batches that fit the memory.

The weight of every token is computed over the whole mini-batch before it is cut, so loss and gradient are plain sums
that do not depend on the cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gapo_cli.config import AlgorithmConfig
from gapo_cli.losses import token_weights
from gapo_cli.models.layout import TokenBatch, pack, pad
from gapo_cli.records import Group


@dataclass(slots=True)
class MicroBatch:
    """Some groups of a mini-batch. The tensors are (N,), one value a completion token, in the order of TokenBatch.
    `fresh`: the token's group was sampled by the policy as it is before the update. `logprobs_old` and `logprobs_ref`
    are filled in when they are known and then serve all epochs."""

    groups: tuple[Group, ...]
    advantages: torch.Tensor
    weights: torch.Tensor
    logprobs_engine: torch.Tensor
    fresh: torch.Tensor
    logprobs_old: torch.Tensor | None = None
    logprobs_ref: torch.Tensor | None = None

    def token_batch(self, layout: str, pad_id: int) -> TokenBatch:
        """Laid out anew for each pass: masks of whole rollout batches would not fit the memory."""
        lay_out = pack if layout == "packed" else pad
        prompts = [group.prompt_token_ids for group in self.groups]
        completions = [[completion.token_ids for completion in group.completions] for group in self.groups]
        return lay_out(prompts, completions, pad_id).to(self.weights.device)


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """The micro-batches of one optimizer step and the `weight` of all its tokens, of groups that are left out too."""

    micro_batches: tuple[MicroBatch, ...]
    weight: float


def has_gradient(group: Group, algorithm: AlgorithmConfig) -> bool:
    """A group whose advantages are all exactly 0 has none, unless KL or entropy give it one."""
    return bool(np.any(group.advantages)) or algorithm.kl_coefficient != 0 or algorithm.entropy_coefficient != 0


def cut_mini_batch(
    groups: Sequence[Group],
    fresh: Sequence[bool],
    algorithm: AlgorithmConfig,
    groups_per_micro_batch: int,
    device: torch.device | str = "cpu",
) -> MiniBatch:
    """The groups, which have advantages, in micro-batches of `groups_per_micro_batch` (0: one of all). Groups without
    gradient are left out: no pass is made for them, but their tokens count in the weights of the others."""
    sizes = [len(group.completions) for group in groups]
    lengths = torch.tensor([len(completion.token_ids) for group in groups for completion in group.completions])
    weights = token_weights(lengths, algorithm.aggregation, algorithm.constant_divisor)
    lengths_of, weights_of = lengths.split(sizes), weights.split(sizes)
    computed = [index for index, group in enumerate(groups) if has_gradient(group, algorithm)]
    if groups_per_micro_batch:
        # neighbours of like length: less padding
        computed.sort(key=lambda index: len(groups[index].prompt_token_ids) + int(lengths_of[index].sum()))
    chunk_size = groups_per_micro_batch or max(len(computed), 1)

    def micro_batch(chunk: Sequence[int]) -> MicroBatch:
        own = tuple(groups[index] for index in chunk)
        repeats = torch.cat([lengths_of[index] for index in chunk])
        advantages = torch.from_numpy(np.concatenate([group.advantages for group in own])).float()
        engine = [value for group in own for completion in group.completions for value in completion.logprobs]
        of_completions = torch.cat([torch.full((sizes[index],), fresh[index]) for index in chunk])
        return MicroBatch(
            groups=own,
            advantages=advantages.repeat_interleave(repeats).to(device),
            weights=torch.cat([weights_of[index] for index in chunk]).repeat_interleave(repeats).to(device),
            logprobs_engine=torch.tensor(engine, dtype=torch.float32, device=device),
            fresh=of_completions.repeat_interleave(repeats).to(device),
        )

    chunks = [computed[start : start + chunk_size] for start in range(0, len(computed), chunk_size)]
    return MiniBatch(tuple(micro_batch(chunk) for chunk in chunks), float((weights * lengths).sum()))
