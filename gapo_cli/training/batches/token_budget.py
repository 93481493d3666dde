"""Groups cut into micro-batches that hold at most so many tokens: few, and of sizes as even as possible.

What counts is what a forward pass computes, padding included. Of the packed layout that is all tokens, so long and short rows
go together as their sums ask for. Of the others it is rows times the longest row, so like lengths go together. A group that is
too long is divided, its prompt repeated for each part; a completion that is too long even alone with its prompt gets a
micro-batch of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np


@dataclass(frozen=True, slots=True, order=True)
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
    if layout == "packed":
        return sorted(sorted(one) for one in _even_bins(pieces, budget))
    pieces.sort(key=lambda piece: piece.width)
    runs = even_runs(len(pieces), lambda start, stop: (stop - start) * pieces[stop - 1].width, budget)
    return [[pieces[index] for index in run] for run in runs]


def _even_bins(pieces: Sequence[Piece], budget: int) -> list[list[Piece]]:
    """Micro-batches of at most `budget` tokens, a piece that is longer alone. The longest first, each goes where the fewest
    tokens are (Graham 1969), among the fewest micro-batches in which that fits; where first fit needs fewer, its own. The fewest
    possible nobody finds quickly: first fit needs at most 11/9 of them and 6/9 (Dósa 2007)."""
    longest_first = sorted(pieces, key=lambda piece: -piece.width)
    alone = [[piece] for piece in longest_first if piece.width > budget]
    rest = longest_first[len(alone) :]
    filled = _first_fit(rest, budget)
    for count in range(-(-_tokens(rest) // budget), len(filled) + 1):
        spread = _spread(rest, count)
        if all(_tokens(one) <= budget for one in spread):
            return alone + spread
    return alone + filled


def _first_fit(pieces: Sequence[Piece], budget: int) -> list[list[Piece]]:
    found: list[list[Piece]] = []
    for piece in pieces:
        into = next((one for one in found if _tokens(one) + piece.width <= budget), None)
        if into is None:
            into = []
            found.append(into)
        into.append(piece)
    return found


def _spread(pieces: Sequence[Piece], count: int) -> list[list[Piece]]:
    found: list[list[Piece]] = [[] for _ in range(count)]
    for piece in pieces:
        min(found, key=_tokens).append(piece)
    return found


def _tokens(pieces: Sequence[Piece]) -> int:
    return sum(piece.width for piece in pieces)


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
