"""The region of a task that only names its cursor: rows around it within a budget, and what the right edits change."""

from __future__ import annotations

from collections.abc import Sequence

BYTES_PER_TOKEN = 3
"""How Zed estimates tokens: bytes // 3."""
FIRST_SHARE = 0.75
"""Of the budget, spent row by row before the rest; with a parser the rest would go to whole syntax nodes."""


def rows_around(lines: Sequence[str], row: int, tokens: int) -> tuple[int, int]:
    """The rows [start, end) around the cursor's row within `tokens`; that row itself is always in. Rows are added below and
    above in turn; three quarters of the budget end where the first row does not fit, the rest where none does."""
    start, end = row, min(row + 1, len(lines))
    first = int(tokens * FIRST_SHARE)
    left = max(0, first - sum(map(cost, lines[start:end])))
    below = True
    while end < len(lines) or start > 0:
        if (below and end == len(lines)) or (not below and start == 0):
            below = not below
            continue
        price = cost(lines[end if below else start - 1])
        if price > left:
            break
        left -= price
        start, end = (start, end + 1) if below else (start - 1, end)
        below = not below
    left += tokens - first
    above = True
    while True:
        fits = {
            True: start > 0 and cost(lines[start - 1]) <= left,
            False: end < len(lines) and cost(lines[end]) <= left,
        }
        if not any(fits.values()):
            return start, end
        above = above if fits[above] else not above
        left -= cost(lines[start - 1 if above else end])
        start, end = (start - 1, end) if above else (start, end + 1)
        above = not above


def cost(line: str) -> int:
    return max(1, len(line.encode()) // BYTES_PER_TOKEN)


def changed_rows(old: Sequence[str], new: Sequence[str]) -> tuple[int, int] | None:
    """The rows [start, end) of `old` from the first to the last that differ, None where none does. Where lines are only
    added, the rows before and behind them."""
    if old == new:
        return None
    shortest = min(len(old), len(new))
    start = next((place for place in range(shortest) if old[place] != new[place]), shortest)
    tail = next((place for place in range(shortest - start) if old[-1 - place] != new[-1 - place]), shortest - start)
    end = len(old) - tail
    return (start, end) if end > start else (max(0, start - 1), min(len(old), end + 1))
