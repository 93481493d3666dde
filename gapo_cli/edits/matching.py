"""How alike two texts are: exact match, strict match, edit similarity and BLEU, for one pair and for many.

Exact match and edit similarity are the two halves of the default reward (arXiv:2510.21830). Both compare stripped texts:
a missing or extra blank line around a region is not an error of the edit. `None` is for the callers to handle.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU

# What an n-gram order without a single match counts as, Chen and Cherry (WMT 2014), method 1; the authors' reward has it too.
BLEU_FLOOR = 0.1


def exact_match(prediction: str, target: str) -> bool:
    """Equal after stripping white space at both ends."""
    return prediction.strip() == target.strip()


def strict_match(prediction: str, target: str) -> bool:
    """Equal character by character, white space included."""
    return prediction == target


def edit_similarity(prediction: str, target: str) -> float:
    """1 - levenshtein / max(length) over the characters of the stripped texts, in [0, 1]. Two empty texts are alike: 1.0."""
    return Levenshtein.normalized_similarity(prediction.strip(), target.strip())


def bleu(prediction: str, target: str) -> float:
    """Sentence BLEU of orders 1 to 4 over the words of the stripped texts, in [0, 1].

    Words are what white space separates, as in the reward of the paper's code: `foo(x,` is one word. Orders without a match
    count as BLEU_FLOOR matches; no matching word at all is 0.0. Orders that the prediction is too short to have are left out
    (sacrebleu's effective order), so that a right answer of fewer than four words, `x = 1`, reaches 1.0, which it does not in
    the paper's code. Two empty texts are alike: 1.0.
    """
    prediction, target = prediction.strip(), target.strip()
    if prediction == target:
        return 1.0
    # exp of a sum of logarithms: the same words with other blanks between them come out at 1.0000000000000004
    return min(_sentence_bleu().sentence_score(prediction, [target]).score / 100, 1.0)


def exact_matches(predictions: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """`exact_match` of each pair: (N,) of 0.0 and 1.0."""
    return np.array([exact_match(*pair) for pair in zip(predictions, targets, strict=True)], dtype=np.float64)


def edit_similarities(predictions: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """`edit_similarity` of each pair: (N,) float64. One call into C++ for all pairs. Raises ValueError for unequal lengths."""
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets: need one a target")
    return process.cpdist(
        [text.strip() for text in predictions],
        [text.strip() for text in targets],
        scorer=Levenshtein.normalized_similarity,
        dtype=np.float64,
    )


def bleus(predictions: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """`bleu` of each pair: (N,) float64."""
    return np.array([bleu(*pair) for pair in zip(predictions, targets, strict=True)], dtype=np.float64)


@cache
def _sentence_bleu() -> BLEU:
    # sacrebleu costs a tenth of a second to import, and most runs never ask for BLEU
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize="none", smooth_method="floor", smooth_value=BLEU_FLOOR, effective_order=True)
