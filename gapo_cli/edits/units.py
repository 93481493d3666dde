"""Texts as units: line breaks, blanks, identifiers, operators. What was kept of an answer is counted in these."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

OPERATORS = [
    ">>>=",
    "<<=",
    ">>=",
    "...",
    "..=",
    "??=",
    "**=",
    ">>>",
    "::",
    "->",
    "=>",
    "==",
    "!=",
    "<=",
    ">=",
    "&&",
    "||",
    "<<",
    ">>",
    "..",
    "+=",
    "-=",
    "*=",
    "/=",
    "%=",
    "&=",
    "|=",
    "^=",
    "++",
    "--",
    "**",
    "??",
    "?.",
    ":=",
    "<-",
    "//",
    "/*",
    "*/",
]
"""Zed's list, in its order: the first that fits is taken."""
UNIT = re.compile(rf"[\n\r]+|[^\S\n\r]+|\w+|{'|'.join(map(re.escape, OPERATORS))}|.", re.DOTALL)
WORD_PART = re.compile(r"_+|[^\W_]*?(?:(?<=[^\W_A-Z])(?=[A-Z])|(?=[A-Z][a-z])(?<=[A-Z])|(?=_)|$)")
MOST = 3000
"""Units of a side that are compared with every unit of the other; the table for it grows with the square (36 MB here)."""


def units_of(text: str) -> list[str]:
    """Joined they are the text."""
    return UNIT.findall(text)


def word_parts(text: str) -> list[str]:
    """Units with identifiers cut at runs of `_`, before a capital after a small letter or digit, and before the last
    capital of a run that small letters follow: `old_name` is three, `HTMLPage` two."""
    parts: list[str] = []
    for unit in UNIT.findall(text):
        if unit[0].isalnum() or unit[0] == "_":
            parts += [part for part in WORD_PART.findall(unit) if part]
        else:
            parts.append(unit)
    return parts


def unmatched(first: Sequence[str], second: Sequence[str]) -> list[bool]:
    """Which units of `first` lie outside its longest common subsequence with `second`. Equal beginnings and ends are taken
    first; of several longest ones it is that which a walk from the end finds that steps in `first` where it may choose."""
    shortest = min(len(first), len(second))
    start = next((place for place in range(shortest) if first[place] != second[place]), shortest)
    tail = next((place for place in range(shortest - start) if first[-1 - place] != second[-1 - place]), shortest - start)
    rows, columns = first[start : len(first) - tail], second[start : len(second) - tail]
    outside = [False] * start + [True] * len(rows) + [False] * tail
    if not rows or not columns or max(len(rows), len(columns)) > MOST:
        return outside
    lengths = _lengths(rows, columns)
    row, column = len(rows), len(columns)
    while row and column:
        if rows[row - 1] == columns[column - 1]:
            row, column = row - 1, column - 1
            outside[start + row] = False
        elif lengths[row - 1, column] >= lengths[row, column - 1]:
            row -= 1
        else:
            column -= 1
    return outside


def _lengths(rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """(rows + 1, columns + 1): how long the longest common subsequence of the first so many of both is."""
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys((*rows, *columns)))}
    across = np.array([numbers[unit] for unit in columns])
    lengths = np.zeros((len(rows) + 1, len(columns) + 1), dtype=np.int32)
    for row, unit in enumerate(rows, start=1):
        above = lengths[row - 1]
        found = np.maximum(above[1:], above[:-1] + (across == numbers[unit]))
        np.maximum.accumulate(found, out=lengths[row, 1:])
    return lengths
