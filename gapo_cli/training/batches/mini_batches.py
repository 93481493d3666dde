"""Groups as the tensors of one optimizer step, and the cut into micro-batches that fit the memory.

The weight of every token is computed over the whole mini-batch before it is cut, so loss and gradient are plain sums
that do not depend on the cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import torch

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.models.packing.layout import LAY_OUT, TokenBatch
from gapo_cli.records import Group
from gapo_cli.training.batches.token_budget import Piece, cut_to_budget
from gapo_cli.training.objectives.aggregation import token_weights


@dataclass(slots=True)
class MicroBatch:
    """What one forward pass is made for. `prompts`: token ids, one prompt a piece of a group; `completions`: the token ids
    of each piece's completions. The tensors are (N,), one value a completion token, in the order of TokenBatch. `fresh`:
    the token's group was sampled by the policy as it is before the update. `logprobs_old` and `logprobs_ref` are filled in
    when they are known and then serve all epochs."""

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[tuple[int, ...], ...], ...]
    advantages: torch.Tensor
    weights: torch.Tensor
    logprobs_engine: torch.Tensor
    fresh: torch.Tensor
    logprobs_old: torch.Tensor | None = None
    logprobs_ref: torch.Tensor | None = None

    def token_batch(self, layout: str, pad_id: int) -> TokenBatch:
        """Laid out anew for each pass: masks of whole rollout batches would not fit the memory."""
        return LAY_OUT[layout](self.prompts, self.completions, pad_id).to(self.weights.device)


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
    layout: str,
    max_tokens: int,
    device: torch.device | str = "cpu",
) -> MiniBatch:
    """The groups, which have advantages, in micro-batches of at most `max_tokens` tokens in `layout` (0: one of all). Groups
    without gradient are left out: no pass is made for them, but their tokens count in the weights of the others."""
    lengths = torch.tensor([len(completion.token_ids) for group in groups for completion in group.completions])
    weights = token_weights(lengths, algorithm.aggregation, algorithm.constant_divisor)
    total_weight = float((weights * lengths).sum())
    computed = [has_gradient(group, algorithm) for group in groups]
    chosen = np.repeat(computed, [len(group.completions) for group in groups])
    lengths, weights = lengths[chosen], weights[chosen]
    fresh = list(compress(fresh, computed))
    groups = list(compress(groups, computed))
    first = np.cumsum([0, *(len(group.completions) for group in groups)])
    cut = cut_to_budget(
        [len(group.prompt_token_ids) for group in groups],
        [[len(completion.token_ids) for completion in group.completions] for group in groups],
        layout,
        max_tokens,
    )

    def micro_batch(pieces: Sequence[Piece]) -> MicroBatch:
        own = [(groups[piece.group], slice(piece.start, piece.stop)) for piece in pieces]
        completions = [group.completions[part] for group, part in own]
        places = np.concatenate([np.arange(piece.start, piece.stop) + first[piece.group] for piece in pieces])
        advantages = torch.from_numpy(np.concatenate([group.advantages[part] for group, part in own])).float()
        is_fresh = torch.tensor([fresh[piece.group] for piece in pieces for _ in range(piece.start, piece.stop)])
        engine = [value for some in completions for completion in some for value in completion.logprobs]

        def of_tokens(of_completions: torch.Tensor) -> torch.Tensor:
            return of_completions.repeat_interleave(lengths[places]).to(device)

        return MicroBatch(
            prompts=tuple(group.prompt_token_ids for group, _ in own),
            completions=tuple(tuple(completion.token_ids for completion in some) for some in completions),
            advantages=of_tokens(advantages),
            weights=of_tokens(weights[places]),
            logprobs_engine=torch.tensor(engine, dtype=torch.float32, device=device),
            fresh=of_tokens(is_fresh),
        )

    return MiniBatch(tuple(micro_batch(pieces) for pieces in cut), total_weight)
