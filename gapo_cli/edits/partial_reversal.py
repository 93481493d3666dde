"""How much of an answer undoes what the developer did last, as a share of all that the answer changes. Zed's reversal ratio.

`reversal.py` asks whether the whole edit is undone; here each piece counts. Lines are compared first, and where few of them
changed on both sides, their words (units.py with identifiers cut). Zed compares lines by the histogram algorithm; here it is a
longest common subsequence, which may cut an edit of many lines elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rapidfuzz.distance import Indel, LCSseq

from gapo_cli.edits.units import word_parts

FINE_BYTES = 512
FINE_LINES = 8
"""Changed pieces of at most this size on both sides are compared word by word."""


class Piece(NamedTuple):
    """`old`, at `start` in the text before, becomes `new`, which stands at `place` after."""

    start: int
    old: str
    place: int
    new: str


def reversal_ratio(previous: str | None, before: str, prediction: str) -> float:
    """In [0, 1]. `previous`: the region before the newest edit of the history, None where that is not in it, was an accepted
    prediction or cannot be taken back: 0."""
    if previous is None or previous == before or prediction == before:
        return 0.0
    done, pieces = changes(previous, before), changes(before, prediction)
    total = sum(len(piece.old) + len(piece.new) for piece in pieces)
    added = [(one.place, one.place + len(one.new)) for one in done if one.new]
    taken_back = sum(
        max(0, min(end, piece.start + len(piece.old)) - max(start, piece.start)) for piece in pieces for start, end in added
    )
    restored = sum(
        LCSseq.similarity(one.old, piece.new)
        for one in done
        if one.old
        for piece in pieces
        if piece.new and piece.start <= one.place and (one.place < piece.start + len(piece.old) or one.place == piece.start)
    )
    return min(1.0, (taken_back + restored) / total) if total else 0.0


def changes(old: str, new: str) -> list[Piece]:
    """What differs, in order, in the smallest pieces."""
    found: list[Piece] = []
    for piece in _pieces(old.splitlines(keepends=True), new.splitlines(keepends=True), 0, 0):
        sides = (piece.old, piece.new)
        if all(0 < len(side.encode()) <= FINE_BYTES and len(side.splitlines()) <= FINE_LINES for side in sides):
            found += _pieces(word_parts(piece.old), word_parts(piece.new), piece.start, piece.place)
        else:
            found.append(piece)
    return [part for piece in found for part in _one_sided(piece)]


def _pieces(old: list[str], new: list[str], start: int, place: int) -> Iterator[Piece]:
    """The differing stretches of two lists of parts that begin at `start` and `place`."""
    removed, added = "", ""
    for step in Indel.opcodes(old, new):
        before, after = "".join(old[step.src_start : step.src_end]), "".join(new[step.dest_start : step.dest_end])
        if step.tag == "equal":
            if removed or added:
                yield Piece(start, removed, place, added)
            start, place = start + len(removed) + len(before), place + len(added) + len(after)
            removed, added = "", ""
        else:
            removed, added = removed + before, added + after
    if removed or added:
        yield Piece(start, removed, place, added)


def _one_sided(piece: Piece) -> list[Piece]:
    """A change that only adds characters to its old text, or only takes some away, as what it adds or takes away."""
    if not piece.old or not piece.new or LCSseq.similarity(piece.old, piece.new) != min(len(piece.old), len(piece.new)):
        return [piece]
    return list(_pieces(list(piece.old), list(piece.new), piece.start, piece.place))
