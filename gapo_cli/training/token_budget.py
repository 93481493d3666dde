"""Groups cut into micro-batches that hold at most so many tokens: as few as possible, and of sizes as even as possible.

What counts is what a forward pass computes, padding included: of the packed layout all tokens, of the others rows times
the longest row. Like lengths go together. A group that is too long is divided, its prompt repeated for each part; a
completion that is too long even alone with its prompt gets a micro-batch of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np


@dataclass(frozen=True, slots=True)
class Piece:
    """Completions `start` to `stop` of group number `group`; `width`: the tokens that they and the prompt make."""

    group: int
    start: int
    stop: int
    width: int


def cut_to_budget(
    prompt_lengths: Sequence[int], completion_lengths: Sequence[Sequence[int]], layout: str, budget: int
) -> list[list[Piece]]:
    """Micro-batches of at most `budget` tokens (0: all groups in one). prompt_lengths: tokens of each group's prompt;
    completion_lengths: tokens of each group's completions. In the padded layout each completion is a piece."""
    pieces = [
        piece
        for group, (prompt, lengths) in enumerate(zip(prompt_lengths, completion_lengths, strict=True))
        for piece in _pieces(group, prompt, lengths, layout, budget)
    ]
    if not budget:
        return [pieces] if pieces else []
    pieces.sort(key=lambda piece: piece.width)
    before = list(accumulate((piece.width for piece in pieces), initial=0))

    def tokens(start: int, stop: int) -> int:
        return before[stop] - before[start] if layout == "packed" else (stop - start) * pieces[stop - 1].width

    runs = even_runs(len(pieces), tokens, budget)
    return [[pieces[index] for index in run] for run in runs]


def even_runs(count: int, cost: Callable[[int, int], int], budget: int) -> list[range]:
    """The fewest runs of consecutive items 0 to count - 1 that cost at most `budget` each, and among those the cut whose
    dearest run is cheapest. `cost(start, stop)` grows with the run. A single item that costs more is a run of its own."""
    allowed = len(_greedy(count, cost, budget))
    limit = bisect_left(range(budget), -allowed, key=lambda limit: -len(_greedy(count, cost, limit)))
    return _greedy(count, cost, limit)


def _greedy(count: int, cost: Callable[[int, int], int], limit: int) -> list[range]:
    runs, start = [], 0
    for stop in range(1, count + 1):
        if stop == count or cost(start, stop + 1) > limit:
            runs.append(range(start, stop))
            start = stop
    return runs


def _pieces(group: int, prompt: int, lengths: Sequence[int], layout: str, budget: int) -> list[Piece]:
    inputs = np.maximum(np.asarray(lengths, dtype=np.int64) - 1, 0)  # a completion's last token is a label only
    if layout == "padded":
        return [Piece(group, index, index + 1, prompt + int(tokens)) for index, tokens in enumerate(inputs)]
    before = list(accumulate(map(int, inputs), initial=0))
    runs = [range(len(inputs))]
    if budget:
        runs = even_runs(len(inputs), lambda start, stop: prompt + before[stop] - before[start], budget)
    return [Piece(group, run.start, run.stop, prompt + before[run.stop] - before[run.start]) for run in runs]
