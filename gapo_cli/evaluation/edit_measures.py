"""How well a predicted edit agrees with the right one, where most of the text stays: chrF, delta-chrF and changed lines.

A similarity of whole regions is high for any answer that copies. Delta-chrF and the changed lines look at the change
alone: at what `before` → prediction and `before` → target add and remove. All texts are stripped first, as for exact match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sacrebleu.metrics import CHRF

LONGEST_NGRAM = 6
BETA = 2
"""Recall weighs twice as much as precision: chrF's own default (Popović, WMT 2016), in delta-chrF too."""


class Agreement(NamedTuple):
    """Each in [0, 1]."""

    precision: float
    recall: float


def chrf(prediction: str, target: str) -> float:
    """sacrebleu's chrF2 of one pair, in [0, 1]: character 1-6-grams, white space left out, orders that either text is too
    short to have left out. Equal texts, two empty ones among them, are 1.0."""
    prediction, target = prediction.strip(), target.strip()
    if prediction == target:
        return 1.0
    return _sentence_chrf().sentence_score(prediction, [target]).score / 100


def delta_chrf(before: str, prediction: str, target: str) -> float:
    """chrF2 of the change, in [0, 1].

    For each order n of 1 to 6 the delta of an edit is how often it adds (+) or removes (-) each character n-gram, white
    space included (indentation is a change too): count after minus count before, zeros left out. An n-gram agrees with the
    smaller of its two counts if both edits have it with the same sign. Precision is the agreed share of the prediction's
    delta, recall that of the target's; both are averaged over the orders at which either edit has a delta, and the result
    is (1 + 4) P R / (4 P + R). Two edits that change nothing agree: 1.0. If only one of them changes something: 0.0."""
    before, prediction, target = before.strip(), prediction.strip(), target.strip()
    if prediction == target:
        return 1.0
    if before in (prediction, target):
        return 0.0
    orders = []
    for order in range(1, LONGEST_NGRAM + 1):
        base = ngrams(before, order)
        predicted, right = delta(base, ngrams(prediction, order)), delta(base, ngrams(target, order))
        if predicted or right:
            orders.append(agreement(predicted, right))
    if not orders:
        return 0.0
    precision = sum(one.precision for one in orders) / len(orders)
    recall = sum(one.recall for one in orders) / len(orders)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def changed_lines(before: str, prediction: str, target: str) -> Agreement:
    """Precision and recall of the changed lines. The changed lines of an edit are those that it adds (+) and removes (-),
    each as often as its count after differs from its count before, so that a line that only moved is not changed.
    Precision is the share of the prediction's changed lines that are the target's too, recall the other way round. Two
    edits that change no line: 1.0 and 1.0; if only one of them changes a line: 0.0 and 0.0."""
    base = Counter(before.strip().splitlines())
    predicted, right = delta(base, Counter(prediction.strip().splitlines())), delta(base, Counter(target.strip().splitlines()))
    return agreement(predicted, right) if predicted or right else Agreement(1.0, 1.0)


@lru_cache(maxsize=64)  # a task's samples, one after another, share its region and target
def ngrams(text: str, order: int) -> Counter[str]:
    """Shared between callers: not to be changed."""
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def delta(before: Counter, after: Counter) -> dict[Hashable, int]:
    """Count after minus count before, of what has another count."""
    keys: Iterable[Hashable] = before.keys() | after.keys()
    return {key: after[key] - before[key] for key in keys if after[key] != before[key]}


def agreement(predicted: dict[Hashable, int], right: dict[Hashable, int]) -> Agreement:
    """The shares of the two deltas that agree; 0.0 for one that is empty."""
    shared = sum(min(abs(count), abs(right[key])) for key, count in predicted.items() if key in right and count * right[key] > 0)
    sizes = (sum(map(abs, side.values())) for side in (predicted, right))
    return Agreement(*(shared / size if size else 0.0 for size in sizes))


@cache
def _sentence_chrf() -> CHRF:
    # sacrebleu costs a tenth of a second to import
    from sacrebleu.metrics import CHRF

    return CHRF(char_order=LONGEST_NGRAM, word_order=0, beta=BETA)
