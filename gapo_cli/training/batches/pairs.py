"""Pairs of a better and a worse answer to one prompt as tensors that fit the memory, and the order in which they are learnt.

A pair is a group of two completions: packed, its prompt is computed once. The loss needs both answers, so unlike a group's
completions they are never divided.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.models.packing.layout import LAY_OUT, TokenBatch
from gapo_cli.training.batches.passes import Lengths, Pass
from gapo_cli.training.batches.token_budget import cut_to_budget


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids; an answer that was not cut ends with an end token."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def lengths(self) -> Lengths:
        return Lengths(len(self.prompt), (len(self.chosen), len(self.rejected)))

    @property
    def tokens(self) -> int:
        """Prompt and answer tokens, the prompt counted once for each answer."""
        return tokens_of_pair(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the prompt and the longer answer."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def tokens_of_pair(lengths: Lengths) -> int:
    """As `Pair.tokens`."""
    return lengths.tokens + lengths.prompt


@dataclass(frozen=True, slots=True)
class PairBatch:
    """One forward pass over P pairs. `lengths`: tokens of the 2P answers, a pair's better one before its worse one, in the order
    of the tokens in `tokens`."""

    tokens: TokenBatch
    lengths: tuple[int, ...]


def plan_pairs(count: int, config: PreferenceConfig, generator: random.Random) -> list[list[int]]:
    """The whole training as batches of the numbers of `count` pairs: epochs in random order, no batch across two of them, until
    `epochs` or `steps` are reached."""
    per_epoch = -(-count // config.pairs_per_batch)
    limits = [config.steps, None if config.epochs is None else math.ceil(config.epochs * per_epoch)]
    steps = min(limit for limit in limits if limit is not None)
    plan: list[list[int]] = []
    while len(plan) < steps:
        order = list(range(count))
        generator.shuffle(order)
        plan += [order[start : start + config.pairs_per_batch] for start in range(0, count, config.pairs_per_batch)]
    return plan[:steps]


def pair_batches(pairs: Sequence[Pair], layout: str, max_tokens: int, pad_id: int) -> list[PairBatch]:
    """The passes of one batch: of at most `max_tokens` tokens each, padding included (0: one pass; a pair longer than it is a
    pass of its own)."""
    cut = cut_pairs([one.lengths for one in pairs], layout, max_tokens)
    return [_lay_out([pairs[index] for index in part], layout, pad_id) for part in cut]


def cut_pairs(pairs: Sequence[Lengths], layout: str, max_tokens: int) -> list[list[int]]:
    """The numbers of the pairs that go into each pass. Arguments as of `pair_batches`."""
    if layout == "padded":  # two rows a pair, as long as the longer
        answers, budget = [max(one.answers) for one in pairs], max_tokens // 2
    else:  # the last token of each answer is a label only
        answers, budget = [sum(one.answers) - 1 for one in pairs], max_tokens
    budget = max(budget, 1) if max_tokens else 0
    cut = cut_to_budget([one.prompt for one in pairs], [[tokens] for tokens in answers], layout, budget)
    return [[piece.group for piece in pieces] for pieces in cut]


@dataclass(frozen=True)
class ByPair:
    """A `gapo_cli.training.batches.passes.Division`: both answers of a pair go into one pass."""

    def passes(self, groups: Sequence[Lengths], layout: str, budget: int) -> list[Pass]:
        return [Pass.of([groups[index] for index in part], layout) for part in cut_pairs(groups, layout, budget)]

    def size(self, group: Lengths) -> int:
        return tokens_of_pair(group)


def hash_of_pairs(pairs: Sequence[Pair]) -> str:
    """What tells one list of pairs from another: SHA-256 (hex) of their tokens, in order."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(repr((pair.prompt, pair.chosen, pair.rejected)).encode())
    return digest.hexdigest()


def _lay_out(pairs: Sequence[Pair], layout: str, pad_id: int) -> PairBatch:
    answers = [(pair.chosen, pair.rejected) for pair in pairs]
    batch = LAY_OUT[layout]([pair.prompt for pair in pairs], answers, pad_id)
    return PairBatch(batch, tuple(len(answer) for pair in answers for answer in pair))
