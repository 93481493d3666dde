"""How much of a list a budget leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def newest_that_fit(texts: Sequence[str], budget: int | None, count: Callable[[str], int]) -> list[str]:
    """The last texts of the list, in its order, from the newest on until one does not fit. `budget` None: all."""
    return first_that_fit(list(reversed(texts)), budget, count)[::-1]


def first_that_fit(texts: Sequence[str], budget: int | None, count: Callable[[str], int]) -> list[str]:
    """The first texts of the list, until one does not fit. `budget` None: all."""
    if budget is None:
        return list(texts)
    shown = []
    for text in texts:
        budget -= count(text)
        if budget < 0:
            break
        shown.append(text)
    return shown


def left_out(all_of: Sequence[str], shown: Sequence[str], what: str) -> tuple[str, ...]:
    """What `Prompt.cut` says of texts that are not shown."""
    missing = len(all_of) - len(shown)
    return (f"{what}: {missing} left out",) if missing else ()
