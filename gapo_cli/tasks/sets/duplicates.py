"""Tasks that stand twice, in one split or on both sides of two: the same edit word for word, or nearly so. Pure.

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
from itertools import chain, combinations, repeat
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
    repeat it exactly not counted again). With itself: how many repeat an edit that stands before them in the split.
    `examples`: pairs of task ids, exact ones first."""

    first: str
    second: str
    exact: int
    near: int
    examples: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Repeats:
    """`within` each split, and `across` every pair of splits, in the order of the splits."""

    within: tuple[Overlap, ...]
    across: tuple[Overlap, ...]


def find_repeats(splits: Mapping[str, Sequence[EditTask]], progress: Progress = no_progress) -> Repeats:
    """Every edit that stands twice, exactly or nearly."""
    ranked = rank_shingles(splits)
    pairs = [*((split, split) for split in splits), *combinations(splits, 2)]
    total = sum(len(splits[second]) for _, second in pairs)
    done = 0
    found = []
    for first, second in pairs:
        progress("comparing the tasks", done, total)
        found.append(overlap(first, splits[first], ranked[first], second, splits[second], ranked[second]))
        done += len(splits[second])
    progress("comparing the tasks", done, total)
    return Repeats(tuple(found[: len(splits)]), tuple(found[len(splits) :]))


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


def rank_shingles(splits: Mapping[str, Sequence[EditTask]]) -> dict[str, list[Ranks]]:
    """The shingles of each task of each split as numbers that mean the same in all splits."""
    numbers: dict[tuple[str, ...], int] = {}
    named = {
        split: [[numbers.setdefault(shingle, len(numbers)) for shingle in shingles(task)] for task in tasks]
        for split, tasks in splits.items()
    }
    counts = Counter(chain.from_iterable(chain.from_iterable(named.values())))
    # any one order serves, ties included, as long as it is the same for every set
    rank = {number: place for place, number in enumerate(sorted(counts, key=counts.__getitem__))}
    return {split: [Ranks.of(map(rank.__getitem__, found)) for found in members] for split, members in named.items()}


def overlap(
    first: str,
    tasks: Sequence[EditTask],
    ranks: Sequence[Ranks],
    second: str,
    others: Sequence[EditTask],
    other_ranks: Sequence[Ranks],
) -> Overlap:
    """What of `others` repeats `tasks`; where both are one split, what of it repeats a task before it."""
    seen = SeenEdits()
    if first != second:
        for task, own in zip(tasks, ranks, strict=True):
            seen.add(task, own)
    exact: list[tuple[str, str]] = []
    near: list[tuple[str, str]] = []
    for task, own in zip(others, other_ranks, strict=True):
        if (same := seen.exactly(task)) is not None:
            exact.append((same, task.id))
        elif (alike := seen.nearly(own)) is not None:
            near.append((alike, task.id))
        if first == second:
            seen.add(task, own)
    return Overlap(first, second, len(exact), len(near), tuple((exact + near)[:EXAMPLES]))


class SeenEdits:
    """Edits so far, each once, to be asked for another one. Answers are the id of the first task that has it."""

    def __init__(self) -> None:
        self.by_edit: dict[tuple[str, str], str] = {}
        self.by_shingle: dict[int, list[int]] = {}
        self.edits: list[tuple[str, frozenset[int]]] = []

    def add(self, task: EditTask, ranks: Ranks) -> None:
        key = edit_key(task)
        if key in self.by_edit:
            return
        self.by_edit[key] = task.id
        for shingle in ranks.prefix:
            self.by_shingle.setdefault(shingle, []).append(len(self.edits))
        self.edits.append((task.id, ranks.members))

    def exactly(self, task: EditTask) -> str | None:
        return self.by_edit.get(edit_key(task))

    def nearly(self, ranks: Ranks) -> str | None:
        candidates = {number for shingle in ranks.prefix for number in self.by_shingle.get(shingle, ())}
        alike = (number for number in sorted(candidates) if jaccard(self.edits[number][1], ranks.members) >= NEAR)
        return next((self.edits[number][0] for number in alike), None)


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
