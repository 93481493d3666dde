"""Groups as the tensors of one optimizer step, and the cut into micro-batches that fit the memory.

The weight of every token is computed over the whole mini-batch before it is cut, so loss and gradient are plain sums
that do not depend on the cut. Nor do they on completions of advantage 0: unless a term of the loss gives them a gradient, these
are left out, completion by completion, and a group of which none is left makes no pass.

Ranks that share the weights make equally many passes: one that has fewer fills them up with micro-batches that weigh nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.models.packing.layout import LAY_OUT, TokenBatch
from gapo_cli.processes.ranks import ALONE, Ranks
from gapo_cli.records import Completion, Group
from gapo_cli.training.batches.token_budget import Piece, cut_to_budget
from gapo_cli.training.objectives.aggregation import token_weights


@dataclass(slots=True)
class MicroBatch:
    """What one forward pass is made for. `prompts`: token ids, one prompt a piece of a group; `completions`: the token ids
    of each piece's completions; `places`: the completions' numbers in the mini-batch. The tensors are (N,), one value a completion token, in the order of TokenBatch. `fresh`:
    the token's group was sampled by the policy as it is before the update. `logprobs_old` and `logprobs_ref` are filled in
    when they are known and then serve all epochs; so are a critic's `values_old` and `returns`."""

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[tuple[int, ...], ...], ...]
    places: np.ndarray
    advantages: torch.Tensor
    weights: torch.Tensor
    logprobs_engine: torch.Tensor
    fresh: torch.Tensor
    logprobs_old: torch.Tensor | None = None
    logprobs_ref: torch.Tensor | None = None
    values_old: torch.Tensor | None = None
    returns: torch.Tensor | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion, in their order."""
        return [len(ids) for own in self.completions for ids in own]

    def token_batch(self, layout: str, pad_id: int) -> TokenBatch:
        """Laid out again for each pass: masks of whole rollout batches would not fit the memory."""
        return LAY_OUT[layout](self.prompts, self.completions, pad_id).to(self.weights.device)


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """The micro-batches of one optimizer step of `groups`, those of this rank alone. `weight` and number of all its completion
    `tokens`, of those that are left out too; `computed_tokens`: those that some rank makes a pass for."""

    groups: tuple[Group, ...]
    micro_batches: tuple[MicroBatch, ...]
    weight: float
    tokens: int
    computed_tokens: int


@dataclass(frozen=True, slots=True)
class _Computed:
    """Of one group what a pass is made for; `places`: the completions' numbers in the mini-batch."""

    prompt: tuple[int, ...]
    completions: tuple[Completion, ...]
    advantages: np.ndarray
    places: np.ndarray
    fresh: bool

    @property
    def answer_tokens(self) -> int:
        return sum(len(completion.token_ids) for completion in self.completions)


def _computed(groups: Sequence[Group], fresh: Sequence[bool], algorithm: AlgorithmConfig) -> Iterator[_Computed]:
    first = 0
    for group, is_fresh in zip(groups, fresh, strict=True):
        # exactly 0: an advantage that is almost 0 has a gradient, and NaN must be seen to be refused
        learns = np.ones(len(group.completions), dtype=bool) if algorithm.every_token_learns else group.advantages != 0
        (own,) = np.nonzero(learns)
        if len(own):
            completions = tuple(group.completions[index] for index in own)
            yield _Computed(group.prompt_token_ids, completions, group.advantages[own], first + own, is_fresh)
        first += len(group.completions)


def cut_mini_batch(
    groups: Sequence[Group],
    fresh: Sequence[bool],
    algorithm: AlgorithmConfig,
    layout: str,
    max_tokens: int,
    device: torch.device | str = "cpu",
    ranks: Ranks = ALONE,
    evenly: bool = False,
) -> MiniBatch:
    """The groups, which have advantages, in micro-batches of at most `max_tokens` tokens in `layout` (0: one of all).
    Completions without gradient are left out: no pass is made for them, but their tokens count in the weights of the others. So it
    is with what other `ranks` compute. `evenly`: all ranks, which all make the call, get as many micro-batches."""
    lengths = torch.tensor([len(completion.token_ids) for group in groups for completion in group.completions])
    weights = token_weights(lengths, algorithm.aggregation, algorithm.constant_divisor)
    total_weight = float((weights * lengths).sum())
    learnt = list(_computed(groups, fresh, algorithm))
    computed = [
        one
        for one, mine in zip(learnt, ranks.mine([len(one.prompt) + one.answer_tokens for one in learnt]), strict=True)
        if mine
    ]
    cut = cut_to_budget(
        [len(one.prompt) for one in computed],
        [[len(completion.token_ids) for completion in one.completions] for one in computed],
        layout,
        max_tokens,
    )

    def micro_batch(pieces: Sequence[Piece]) -> MicroBatch:
        own = [(computed[piece.group], slice(piece.start, piece.stop)) for piece in pieces]
        completions = [one.completions[part] for one, part in own]
        places = np.concatenate([one.places[part] for one, part in own])
        advantages = torch.from_numpy(np.concatenate([one.advantages[part] for one, part in own])).float()
        is_fresh = torch.tensor([one.fresh for (one, _), some in zip(own, completions, strict=True) for _ in some])
        engine = [value for some in completions for completion in some for value in completion.logprobs]

        def of_tokens(of_completions: torch.Tensor) -> torch.Tensor:
            return of_completions.repeat_interleave(lengths[places]).to(device)

        return MicroBatch(
            prompts=tuple(one.prompt for one, _ in own),
            completions=tuple(tuple(completion.token_ids for completion in some) for some in completions),
            places=places,
            advantages=of_tokens(advantages),
            weights=of_tokens(weights[places]),
            logprobs_engine=torch.tensor(engine, dtype=torch.float32, device=device),
            fresh=of_tokens(is_fresh),
        )

    answer_tokens = sum(one.answer_tokens for one in learnt)
    micro_batches = [micro_batch(pieces) for pieces in cut]
    if evenly:
        micro_batches += [weightless(device) for _ in range(ranks.greatest(len(cut)) - len(cut))]
    return MiniBatch(tuple(groups), tuple(micro_batches), total_weight, int(lengths.sum()), answer_tokens)


def weightless(device: torch.device | str = "cpu") -> MicroBatch:
    """One token that nothing is learnt from and nothing counted of: a pass that others wait for."""
    nothing = torch.zeros(1, device=device)
    return MicroBatch(
        prompts=((0,),),
        completions=(((0,),),),
        places=np.zeros(1, dtype=np.int64),
        advantages=nothing,
        weights=nothing,
        logprobs_engine=nothing,
        fresh=torch.zeros(1, dtype=torch.bool, device=device),
    )
