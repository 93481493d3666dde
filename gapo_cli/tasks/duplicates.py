"""Tasks that stand on both sides of a split: the same edit word for word, or nearly so. Pure.

An edit is its region and its target. Two edits are near-duplicates when the Jaccard similarity of their 3-token
shingles is at least 0.8. The search is exact, by prefix filtering (Bayardo et al., "Scaling up all pairs similarity
search", WWW 2007): two sets that similar must share one of the rarest (1 - 0.8) of their shingles.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, repeat
from typing import Any

from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.records import EditTask

SHINGLE_TOKENS = 3  # `shingles` zips so many shifted lists
NEAR = 0.8
EXAMPLES = 5
TOKEN = re.compile(r"\w+|[^\w\s]")


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


def overlaps(splits: Mapping[str, Sequence[EditTask]], progress: Progress = no_progress) -> list[Overlap]:
    """What of each split repeats an edit of another, for every pair of splits, in the order of the mapping."""
    named = {split: [shingles(task) for task in tasks] for split, tasks in splits.items()}
    counts = Counter(shingle for members in named.values() for found in members for shingle in found)
    # rarest first, ties by their words: the same order for every set, which prefix filtering needs
    rank = {shingle: number for number, shingle in enumerate(sorted(counts, key=lambda shingle: (counts[shingle], shingle)))}
    ranked = {split: [Ranks.of(rank[shingle] for shingle in found) for found in members] for split, members in named.items()}
    pairs = list(combinations(splits, 2))
    total = sum(len(splits[second]) for _, second in pairs)
    done = 0
    found = []
    for first, second in pairs:
        progress("comparing the splits", done, total)
        found.append(overlap(first, splits[first], ranked[first], second, splits[second], ranked[second]))
        done += len(splits[second])
    progress("comparing the splits", done, total)
    return found


@dataclass(frozen=True, slots=True)
class Ranks:
    """A task's shingles as numbers, 0 the rarest of all. `prefix`: the rarest of them, of which any set with a Jaccard
    similarity of NEAR or more must share one."""

    members: frozenset[int]
    prefix: tuple[int, ...]

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Ranks:
        ordered = sorted(numbers)
        # rounded first: 0.8 * 5 must stay 4 and not become 5
        kept = len(ordered) - math.ceil(round(NEAR * len(ordered), 9)) + 1
        return cls(frozenset(ordered), tuple(ordered[:kept]))


def overlap(
    first: str, tasks: Sequence[EditTask], ranks: Sequence[Ranks], second: str, others: Sequence[EditTask], other_ranks: Sequence[Ranks]
) -> Overlap:
    """What of `others` repeats `tasks`."""
    seen = {edit_key(task): task.id for task in reversed(tasks)}
    index: dict[int, list[int]] = {}
    for number, own in enumerate(ranks):
        for shingle in own.prefix:
            index.setdefault(shingle, []).append(number)
    exact: list[tuple[str, str]] = []
    near: list[tuple[str, str]] = []
    for task, own in zip(others, other_ranks, strict=True):
        if edit_key(task) in seen:
            exact.append((seen[edit_key(task)], task.id))
            continue
        candidates = sorted({number for shingle in own.prefix for number in index.get(shingle, ())})
        match = next((number for number in candidates if jaccard(ranks[number].members, own.members) >= NEAR), None)
        if match is not None:
            near.append((tasks[match].id, task.id))
    return Overlap(first, second, len(exact), len(near), tuple((exact + near)[:EXAMPLES]))


def edit_key(task: EditTask) -> tuple[str, str]:
    """Equal keys are the same edit (texts stripped, as exact match compares them)."""
    return task.region.strip(), task.target.strip()


def shingles(task: EditTask) -> frozenset[tuple[str, ...]]:
    """The set of 3-token runs of region and target; a text of fewer tokens is one run."""
    found: list[tuple[str, ...]] = []
    for side, text in (("region", task.region), ("target", task.target)):
        tokens = TOKEN.findall(text)
        if len(tokens) < SHINGLE_TOKENS:
            found.append((side, *tokens))
        else:
            found.extend(zip(repeat(side), tokens, tokens[1:], tokens[2:], strict=False))
    return frozenset(found)


def jaccard(first: frozenset[Any], second: frozenset[Any]) -> float:
    """In [0, 1]; both empty: 1."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared) if first or second else 1.0
