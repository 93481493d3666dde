"""Which examples make a batch of supervised training, and how a batch is laid out in rows that fit the memory.

Padded: a row an example, so a batch is made of examples of like lengths. Packed: all examples of a pass in one row, so a batch
may be of any lengths, drawn at random. The loss is the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from gapo_cli.config.supervised import SupervisedConfig
from gapo_cli.models.packing.layout import LAY_OUT, TokenBatch
from gapo_cli.models.packing.spans import Span
from gapo_cli.training.batches.examples import Example
from gapo_cli.training.batches.token_budget import cut_to_budget

BUCKET = 2048  # examples sorted by length together: little padding, and batches still come in random order


def plan_batches(lengths: Sequence[int], config: SupervisedConfig, generator: random.Random) -> list[list[int]]:
    """The whole training as batches of indices, epochs in random order, until `tokens` or `epochs` are reached. A batch's size
    in tokens, padding included, stays within `tokens_per_batch` (an example longer than it is a batch of its own)."""
    limits = [config.tokens, None if config.epochs is None else math.ceil(config.epochs * sum(lengths))]
    wanted = min(limit for limit in limits if limit is not None)
    if config.layout == "packed":
        return _packed_batches(lengths, config.tokens_per_batch, wanted, generator)
    return _padded_batches(lengths, config.tokens_per_batch, wanted, generator)


def _padded_batches(lengths: Sequence[int], budget: int, wanted: int, generator: random.Random) -> list[list[int]]:
    plan: list[list[int]] = []
    tokens = 0
    while True:
        order = _shuffled(len(lengths), generator)
        for start in range(0, len(order), BUCKET):
            cut: list[list[int]] = [[]]
            for index in sorted(order[start : start + BUCKET], key=lambda index: lengths[index]):
                if cut[-1] and lengths[index] * (len(cut[-1]) + 1) > budget:
                    cut.append([])
                cut[-1].append(index)
            generator.shuffle(cut)
            for batch in cut:
                plan.append(batch)
                tokens += sum(lengths[index] for index in batch)
                if tokens >= wanted:
                    return plan


def _packed_batches(lengths: Sequence[int], budget: int, wanted: int, generator: random.Random) -> list[list[int]]:
    """A batch may reach into the next epoch, for what is left over at an epoch's end would else be a step of a few examples;
    it holds no example twice."""
    plan: list[list[int]] = [[]]
    size = tokens = 0
    while True:
        for index in _shuffled(len(lengths), generator):
            if tokens >= wanted:
                return plan
            if plan[-1] and (size + lengths[index] > budget or index in plan[-1]):
                plan.append([])
                size = 0
            plan[-1].append(index)
            size += lengths[index]
            tokens += lengths[index]


def _shuffled(count: int, generator: random.Random) -> list[int]:
    order = list(range(count))
    generator.shuffle(order)
    return order


def micro_batches(examples: Sequence[Example], layout: str, max_tokens: int, pad_id: int) -> list[TokenBatch]:
    """The passes of one batch: of at most `max_tokens` tokens each, padding included (0: one pass; an example longer than it
    is a pass of its own)."""
    cut = cut_to_budget([len(one.prompt) for one in examples], [[len(one.answer)] for one in examples], layout, max_tokens)
    return [_lay_out([examples[piece.group] for piece in pieces], layout, pad_id) for pieces in cut]


def _lay_out(examples: Sequence[Example], layout: str, pad_id: int) -> TokenBatch:
    batch = LAY_OUT[layout]([one.prompt for one in examples], [[one.answer] for one in examples], pad_id)
    if batch.spans is None:
        return batch
    # the only answer to a prompt sees all before it: the two are one sequence, with no parts to be merged
    return replace(batch, spans=tuple(Span(range(span.prompt.start, span.stop), ()) for span in batch.spans))
