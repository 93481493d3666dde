"""Which examples make a batch of supervised training, and how a batch is laid out in rows that fit the memory.

Padded: a row an example, so a batch is made of examples of like lengths. Packed: several examples in a row, one beside the
other under a mask, so a batch may be of any lengths, drawn at random. The loss is the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from gapo_cli.config import SupervisedConfig
from gapo_cli.models.layout import TokenBatch
from gapo_cli.models.sequences import pack_sequences
from gapo_cli.training.examples import Example

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
    """The passes of one batch: of at most `max_tokens` tokens each, padding included (0: one pass; a row longer than it is a
    pass of its own)."""
    rows = [[example] for example in examples] if layout == "padded" else pack_rows(examples)
    rows.sort(key=lambda row: -sum(map(len, row)))
    passes, start = [], 0
    while start < len(rows):
        width = sum(map(len, rows[start]))
        count = max(1, max_tokens // width) if max_tokens else len(rows)
        passes.append(rows[start : start + count])
        start += count
    return [pack_sequences([[(one.prompt, one.answer) for one in row] for row in some], pad_id) for some in passes]


def pack_rows(examples: Sequence[Example]) -> list[list[Example]]:
    """Examples in rows no longer than the longest of them, the longest first and each into the first row with room for it.
    Longer rows would need no fewer tokens, but attention, which is dense under the mask, grows with their square."""
    longest = max(map(len, examples))
    rows: list[list[Example]] = []
    room: list[int] = []
    for example in sorted(examples, key=len, reverse=True):
        place = next((index for index, left in enumerate(room) if left >= len(example)), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(longest)
        rows[place].append(example)
        room[place] -= len(example)
    return rows
