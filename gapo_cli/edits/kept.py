"""Kept rate: how much of what an answer typed and deleted stands in the text that the user ended with.

Zed counts it in bytes of units (units.py) between the region as it stood, as it was predicted, and as it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gapo_cli.edits.units import units_of, unmatched

DIRTY_BYTES = 512
"""Where one edit grows the text by so much more than the other, they are not compared: both rates are 0."""


class Kept(NamedTuple):
    """Each in [0, 1]. `rate`: of the answer's change, the share that is right; `recall`: of the right change, the share that
    the answer has."""

    rate: float
    recall: float


def kept(before: str, prediction: str, target: str) -> Kept:
    """Three equal texts: 1 and 1. A side that changes nothing has 1 where the other changes nothing either, else 0."""
    if before == prediction == target:
        return Kept(1.0, 1.0)
    sizes = [len(text.encode()) for text in (before, prediction, target)]
    if abs(abs(sizes[1] - sizes[0]) - abs(sizes[2] - sizes[0])) > DIRTY_BYTES:
        return Kept(0.0, 0.0)
    base, candidate, reference = units_of(before), units_of(prediction), units_of(target)
    typed, right = _picked(candidate, unmatched(candidate, base)), _picked(reference, unmatched(reference, base))
    gone, right_gone = unmatched(base, candidate), unmatched(base, reference)
    both_gone = [mine and theirs for mine, theirs in zip(gone, right_gone, strict=True)]
    agreed = _bytes(typed) - _bytes(_picked(typed, unmatched(typed, right))) + _bytes(_picked(base, both_gone))
    changed = _bytes(typed) + _bytes(_picked(base, gone))
    right_changed = _bytes(right) + _bytes(_picked(base, right_gone))
    return Kept(
        agreed / changed if changed else float(not right_changed),
        agreed / right_changed if right_changed else float(not changed),
    )


def _picked(units: Sequence[str], chosen: Sequence[bool]) -> list[str]:
    return [unit for unit, is_chosen in zip(units, chosen, strict=True) if is_chosen]


def _bytes(units: Sequence[str]) -> int:
    return len("".join(units).encode())
