"""How a predicted region differs from another text, token by token, as segments that a page can colour."""

from __future__ import annotations

import re

from rapidfuzz.distance import Indel

SAME, REMOVED, ADDED = 0, -1, 1
TOKENS = re.compile(r"\w+|[^\S\n]+|\n|[^\w\s]")
LONGEST = 3000
"""Tokens of both texts together that are compared; longer texts are shown as one removed and one added piece."""

Segment = tuple[int, str]


def diff_segments(old: str, new: str) -> list[Segment]:
    """Segments (SAME, REMOVED or ADDED, text): joined without the added ones they are `old`, without the removed ones
    `new`. Neighbours never have the same kind; empty texts give no segments."""
    if old == new:
        return [(SAME, old)] if old else []
    before, after = TOKENS.findall(old), TOKENS.findall(new)
    if len(before) + len(after) > LONGEST:
        return [(kind, text) for kind, text in ((REMOVED, old), (ADDED, new)) if text]
    segments: list[Segment] = []
    for step in Indel.opcodes(before, after):
        removed, added = "".join(before[step.src_start : step.src_end]), "".join(after[step.dest_start : step.dest_end])
        pieces = [(SAME, removed)] if step.tag == "equal" else [(REMOVED, removed), (ADDED, added)]
        for kind, text in pieces:
            if text:
                _append(segments, kind, text)
    return segments


def _append(segments: list[Segment], kind: int, text: str) -> None:
    """Adds a piece; a removed one goes before an added one that it touches, so that they stay two segments."""
    if segments and segments[-1][0] == kind:
        segments[-1] = (kind, segments[-1][1] + text)
    elif kind == REMOVED and segments and segments[-1][0] == ADDED:
        added = segments.pop()
        _append(segments, REMOVED, text)
        segments.append(added)
    else:
        segments.append((kind, text))
