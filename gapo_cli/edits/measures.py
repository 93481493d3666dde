"""How well a predicted edit agrees with the right one: chrF of whole regions, and the changed lines.

A similarity of whole regions is high for any answer that copies. The changed lines look at the change alone: at what `before` →
prediction and `before` → target add and remove; delta_chrf.py does so by characters. All texts are stripped first, as for
exact match.

An n-gram that lies in a stretch that two texts share counts the same in both. So of two texts that are nearly equal only the
n-grams at and between their differences are cut out and counted; what comes out is the same as from all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Indel

LONGEST_NGRAM = 6
BETA = 2
"""Recall weighs twice as much as precision: chrF's own default (Popović, WMT 2016)."""


LONGEST_COMPARED = 20_000
"""Characters of two texts together that are aligned; the memory for it grows with the square (12 MB here)."""


class Agreement(NamedTuple):
    """Each in [0, 1]."""

    precision: float
    recall: float


class Shared(NamedTuple):
    """Stretches [start, end) that two texts have in the same order, as they lie in the first and in the second."""

    first: Sequence[tuple[int, int]]
    second: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, first: str, second: str) -> Shared:
        """None of them for long texts, of which comparing every character with every other would take too much memory."""
        if len(first) + len(second) > LONGEST_COMPARED:
            return cls((), ())
        blocks = Indel.opcodes(first, second).as_matching_blocks()
        return cls([(one.a, one.a + one.size) for one in blocks], [(one.b, one.b + one.size) for one in blocks])

    def ngrams(self, order: int) -> int:
        """How many n-grams lie within them."""
        return sum(max(0, end - start - order + 1) for start, end in self.first)


def ngrams_outside(text: str, stretches: Sequence[tuple[int, int]], order: int) -> Counter[str]:
    """The n-grams of a text that do not lie within one of the stretches, and how often each does."""
    found: list[str] = []
    position, last = 0, len(text) - order + 1
    for start, end in stretches:
        if end - start >= order:
            found += [text[place : place + order] for place in range(position, start)]
            position = end - order + 1
    found += [text[place : place + order] for place in range(position, last)]
    return Counter(found)


def chrf(prediction: str, target: str) -> float:
    """chrF2 of one pair as sacrebleu has it, in [0, 1]: character 1-6-grams, white space left out, precision and recall
    averaged over the orders that both texts are long enough for. Equal texts, two empty ones among them, are 1.0."""
    prediction, target = prediction.strip(), target.strip()
    if prediction == target:
        return 1.0
    prediction, target = "".join(prediction.split()), "".join(target.split())
    shared = Shared.of(prediction, target)
    orders = []
    for order in range(1, min(LONGEST_NGRAM, len(prediction), len(target)) + 1):
        predicted, right = ngrams_outside(prediction, shared.first, order), ngrams_outside(target, shared.second, order)
        agreed = shared.ngrams(order) + sum(min(count, right[key]) for key, count in predicted.items() if key in right)
        orders.append(Agreement(agreed / (len(prediction) - order + 1), agreed / (len(target) - order + 1)))
    return f_score(orders)


def changed_lines(before: str, prediction: str, target: str) -> Agreement:
    """Precision and recall of the changed lines. The changed lines of an edit are those that it adds (+) and removes (-),
    each as often as its count after differs from its count before, so that a line that only moved is not changed.
    Precision is the share of the prediction's changed lines that are the target's too, recall the other way round. Two
    edits that change no line: 1.0 and 1.0; if only one of them changes a line: 0.0 and 0.0."""
    base = Counter(lines_of(before))
    predicted, right = delta(base, Counter(lines_of(prediction))), delta(base, Counter(lines_of(target)))
    return agreement(predicted, right) if predicted or right else Agreement(1.0, 1.0)


def lines_of(text: str) -> list[str]:
    """The lines of a stripped text. Only "\\n" and "\\r\\n" end one, as in diffs; str.splitlines would cut at more."""
    text = text.strip()
    return [line.removesuffix("\r") for line in text.split("\n")] if text else []


def delta(before: Counter, after: Counter) -> dict[Hashable, int]:
    """Count after minus count before, of what has another count."""
    keys: Iterable[Hashable] = before.keys() | after.keys()
    return {key: after[key] - before[key] for key in keys if after[key] != before[key]}


def agreement(predicted: dict[Hashable, int], right: dict[Hashable, int]) -> Agreement:
    """The shares of the two deltas that agree; 0.0 for one that is empty."""
    shared = sum(
        min(abs(count), abs(right[key])) for key, count in predicted.items() if key in right and count * right[key] > 0
    )
    sizes = (sum(map(abs, side.values())) for side in (predicted, right))
    return Agreement(*(shared / size if size else 0.0 for size in sizes))


def f_score(orders: Sequence[Agreement]) -> float:
    """F with BETA of the mean precision and the mean recall; 0.0 where either is 0 or there is no order."""
    if not orders:
        return 0.0
    precision = sum(one.precision for one in orders) / len(orders)
    recall = sum(one.recall for one in orders) / len(orders)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
