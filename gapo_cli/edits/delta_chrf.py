"""Delta-chrF: chrF of what an edit changes, as Zed's evaluation has it (there it is called delta_chr_f, times 100).

White space is collapsed (each run of blanks to one, each run of line breaks to one) or left out; the stretch that differs from
the text before, with 5 characters on either side, is cut out of both texts; an edit's delta are the character n-grams that
it adds and removes there. Precision and recall of the delta are averaged over the orders 1 to 6, all six of them.

Its constants changed in 2026, and numbers across the change cannot be compared; so they have names. What the definition brings
with it: an exchange of two lines scores 0.83 when it is perfect, since no single character is added; an edit of white space
alone scores 1 for doing nothing; and a text too short for an order agrees in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from gapo_cli.edits.measures import Agreement

ORDERS = range(1, 7)
AROUND = 5
"""Characters that the changed stretch is widened by on each side."""
BLANKS = re.compile(r"[^\S\n]+")
BREAKS = re.compile(r"\n+")
EVERY_BLANK = re.compile(r"\s+")

Delta = Mapping[str, int]
"""N-gram → its count after the edit minus that before. Of an n-gram whose count stays, 0: it keeps an order from being empty."""


@dataclass(frozen=True, slots=True)
class Constants:
    """`beta`: how many times as much recall weighs as precision. `collapse`: runs of white space become one character of it,
    else white space is left out."""

    beta: float
    collapse: bool

    def __str__(self) -> str:
        return f"orders 1-6, beta {self.beta:g}, white space {'collapsed' if self.collapse else 'left out'}"


NEWEST = "zed-2026-04"
CONSTANTS: Mapping[str, Constants] = MappingProxyType({
    NEWEST: Constants(beta=0.5, collapse=True),
    "zed-2026-03": Constants(beta=2, collapse=True),
    "zed-2026-02": Constants(beta=2, collapse=False),
})  # fmt: skip
"""By the month in which Zed began to count so."""


def delta_chrf(before: str, prediction: str, target: str, constants: Constants = CONSTANTS[NEWEST]) -> float:
    """In [0, 1]. Three equal texts: 1; an edit where none was right, and none where one was: 0."""
    if before == prediction == target:
        return 1.0
    agreed = delta_agreement(before, prediction, target, constants.collapse)
    return f_score(agreed, constants.beta)


def delta_agreement(before: str, prediction: str, target: str, collapse: bool = True) -> Agreement:
    """Precision and recall of the prediction's delta against the target's, each the mean over the six orders."""
    predicted, right = deltas(before, prediction, collapse), deltas(before, target, collapse)
    orders = [_agreement(one, other) for one, other in zip(predicted, right, strict=True)]
    return Agreement(*(sum(values) / len(ORDERS) for values in zip(*orders, strict=True)))


def f_score(agreed: Agreement, beta: float) -> float:
    """0 where both are 0."""
    weighed = beta**2 * agreed.precision + agreed.recall
    return (1 + beta**2) * agreed.precision * agreed.recall / weighed if weighed else 0.0


def collapsed(text: str, collapse: bool) -> str:
    return BREAKS.sub("\n", BLANKS.sub(" ", text)) if collapse else EVERY_BLANK.sub("", text)


@lru_cache(maxsize=256)  # a task's samples share its region and target
def deltas(before: str, after: str, collapse: bool) -> tuple[Delta, ...]:
    """The delta of an edit at each of ORDERS. Shared between callers: not to be changed."""
    old, new = collapsed(before, collapse), collapsed(after, collapse)
    if old == new:
        return tuple({} for _ in ORDERS)
    shortest = min(len(old), len(new))
    start = next((place for place in range(shortest) if old[place] != new[place]), shortest)
    tail = next((place for place in range(shortest - start) if old[-1 - place] != new[-1 - place]), shortest - start)
    first = max(0, start - AROUND)
    old, new = (text[first : len(text) - max(0, tail - AROUND)] for text in (old, new))
    return tuple(_delta(old, new, order) for order in ORDERS)


def _delta(old: str, new: str, order: int) -> Delta:
    counts = Counter(new[place : place + order] for place in range(len(new) - order + 1))
    counts.subtract(old[place : place + order] for place in range(len(old) - order + 1))
    return counts


def _agreement(predicted: Delta, right: Delta) -> Agreement:
    if not predicted and not right:
        return Agreement(1.0, 1.0)
    agreed = sum(
        min(abs(count), abs(right[key])) for key, count in predicted.items() if key in right and count * right[key] > 0
    )
    sizes = (sum(map(abs, side.values())) for side in (predicted, right))
    return Agreement(*(agreed / size if size else 0.0 for size in sizes))
