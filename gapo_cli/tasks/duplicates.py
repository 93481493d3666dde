"""Tasks that stand on both sides of a split: the same edit word for word, or nearly so. Pure.

An edit is its region and its target. Two edits are near-duplicates when the Jaccard similarity of their 3-token
shingles is at least 0.8. The search is exact, by prefix filtering (Bayardo et al., "Scaling up all pairs similarity
search", WWW 2007): two sets that similar must share one of the rarest (1 - 0.8) of their shingles.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from gapo_cli.records import EditTask

SHINGLE_TOKENS = 3
NEAR = 0.8
EXAMPLES = 5
TOKEN = re.compile(r"\w+|[^\w\s]")

Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Overlap:
    """Between two splits: how many tasks of `second` repeat an edit of `first` exactly, and how many nearly (those that
    repeat it exactly not counted again). `examples`: pairs of task ids, exact ones first."""

    first: str
    second: str
    exact: int
    near: int
    examples: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def edit_key(task: EditTask) -> tuple[str, str]:
    """Equal keys are the same edit (texts stripped, as exact match compares them)."""
    return task.region.strip(), task.target.strip()


def shingles(task: EditTask) -> Shingles:
    """The set of 3-token runs of region and target; a text of fewer tokens is one run."""
    found: set[tuple[str, ...]] = set()
    for side, text in (("region", task.region), ("target", task.target)):
        tokens = TOKEN.findall(text)
        runs = max(1, len(tokens) - SHINGLE_TOKENS + 1)
        found.update((side, *tokens[start : start + SHINGLE_TOKENS]) for start in range(runs))
    return frozenset(found)


def jaccard(first: Shingles, second: Shingles) -> float:
    """In [0, 1]; both empty: 1."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared) if first or second else 1.0


def overlap(first_name: str, first: Sequence[EditTask], second_name: str, second: Sequence[EditTask]) -> Overlap:
    """What of `second` repeats `first`."""
    seen = {edit_key(task): task.id for task in reversed(first)}
    sets = [shingles(task) for task in first]
    sets_second = [shingles(task) for task in second]
    rarity = Counter(shingle for members in (*sets, *sets_second) for shingle in members)
    index: dict[tuple[str, ...], list[int]] = {}
    for number, members in enumerate(sets):
        for shingle in rare_prefix(members, rarity):
            index.setdefault(shingle, []).append(number)
    exact: list[tuple[str, str]] = []
    near: list[tuple[str, str]] = []
    for task, members in zip(second, sets_second, strict=True):
        if edit_key(task) in seen:
            exact.append((seen[edit_key(task)], task.id))
            continue
        candidates = sorted({number for shingle in rare_prefix(members, rarity) for number in index.get(shingle, ())})
        match = next((number for number in candidates if jaccard(sets[number], members) >= NEAR), None)
        if match is not None:
            near.append((first[match].id, task.id))
    return Overlap(first_name, second_name, len(exact), len(near), tuple((exact + near)[:EXAMPLES]))


def rare_prefix(members: Shingles, rarity: Mapping[tuple[str, ...], int]) -> list[tuple[str, ...]]:
    """The rarest shingles, one of which any set with Jaccard similarity >= NEAR must share."""
    # rounded first: 0.8 * 5 must stay 4 and not become 5
    kept = len(members) - math.ceil(round(NEAR * len(members), 9)) + 1
    return sorted(members, key=lambda shingle: (rarity[shingle], shingle))[:kept]


def overlaps(splits: Mapping[str, Sequence[EditTask]]) -> list[Overlap]:
    """Every pair of splits, in the order of the mapping."""
    return [overlap(first, splits[first], second, splits[second]) for first, second in combinations(splits, 2)]
