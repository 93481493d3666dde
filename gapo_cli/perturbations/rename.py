"""Identifiers renamed throughout the task: in history, excerpt, answers and related files alike. Strings, comments and keywords stay."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gapo_cli.config.checks import positive
from gapo_cli.perturbations.names import IDENTIFIER, LANGUAGES, PART, replaceable, unknown_to
from gapo_cli.perturbations.texts import all_texts
from gapo_cli.records import DoesNotApply, EditTask, Perturbed

FRESH = (
    "amber", "anchor", "beacon", "birch", "canvas", "cedar", "copper", "fabric", "harbor", "lantern", "ledger", "marble",
    "meadow", "nickel", "orchid", "parcel", "pebble", "saddle", "timber", "velvet", "vessel", "violet", "walnut", "willow",
)  # fmt: skip


@dataclass(frozen=True)
class Rename:
    """At most `words` words that the region or the answer has names of, each replaced by one that the task has nowhere, in every
    identifier that contains it and in its way of writing: `user_name`, `UserName` and `USER_NAME` become `cedar_name`, `CedarName`
    and `CEDAR_NAME`."""

    words: int = 2

    def __post_init__(self) -> None:
        positive("perturbation.rename", words=self.words)

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply:
        if task.language not in LANGUAGES:
            return DoesNotApply("a language whose names are not known")
        candidates = replaceable(task)
        fresh = unknown_to(all_texts(task), FRESH)
        count = min(self.words, len(candidates), len(fresh))
        if count == 0:
            return DoesNotApply("no name that is the task's own alone")
        swap = Swap.of(zip(generator.sample(candidates, count), generator.sample(fresh, count), strict=True))
        if swap(task.before) + swap(task.region) + swap(task.after) != swap(task.excerpt):
            return DoesNotApply("the region begins or ends inside a name")
        return Perturbed(renamed(task, swap), swap)


@dataclass(frozen=True)
class Swap:
    """Words that change places in all identifiers of a text. What it makes of a text it makes into that text again."""

    words: Mapping[str, str]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Swap:
        both: dict[str, str] = {}
        for old, new in pairs:
            both |= {old: new, new: old}
        return cls(both)

    def __call__(self, text: str) -> str:
        return IDENTIFIER.sub(lambda found: PART.sub(self._part, found[0]), text)

    def _part(self, found: re.Match[str]) -> str:
        part = found[0]
        other = self.words.get(part.lower(), part)
        if other == part or part.islower():
            return other
        return other.upper() if part.isupper() else other.capitalize()

    def moved(self, text: str, offset: int) -> int:
        """Where an offset of the text is in what becomes of it; inside a name that changes it stays as many letters from its start
        as the new name has."""
        for found in IDENTIFIER.finditer(text):
            if found.start() < offset < found.end():
                return len(self(text[: found.start()])) + min(offset - found.start(), len(self(found[0])))
        return len(self(text[:offset]))


def renamed(task: EditTask, swap: Swap) -> EditTask:
    """Every text of the task that shows code or answers it. Paths, instructions and tests have none of the words."""
    return replace(
        task,
        excerpt=swap(task.excerpt),
        editable=(len(swap(task.before)), len(swap(task.before + task.region))),
        cursor=None if task.cursor is None else tuple(swap.moved(task.excerpt, offset) for offset in task.cursor),
        target=swap(task.target),
        cursor_after=None if task.cursor_after is None else swap.moved(task.target, task.cursor_after),
        alternatives=tuple(map(swap, task.alternatives)),
        rejected=tuple(map(swap, task.rejected)),
        history=tuple(replace(event, diff=swap(event.diff)) for event in task.history),
        hints=tuple(replace(hint, text=swap(hint.text)) for hint in task.hints),
    )
