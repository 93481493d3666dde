"""The rule that repeats the history's replacement: what it finds there, and the answer that follows from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gapo_cli.edits.diffs import DiffLine, hunks_of
from gapo_cli.edits.rules.line_edits import added_line_rules, removed_line_rules
from gapo_cli.edits.rules.substitutions import Edit, Rule, apply_edits, overlaps
from gapo_cli.edits.rules.textual_edits import rules_of
from gapo_cli.edits.rules.tokens import CODE_TOKENS, FLAT_TOKENS, tokenise
from gapo_cli.records import EditTask, HistoryEvent

LONGEST_LINE = 1000
MOST_TOKENS = 256
"""Of a line. Generated and minified lines are not what a person edits, and comparing them takes time that grows with the
third power of their length where tokens repeat."""
MOST_CHANGES = 256
"""The newest ones that are tried: no answer takes longer than seconds, whatever the history holds."""


def replace_baseline(task: EditTask) -> str:
    """The region with the textual replacements of the history made in it; unchanged where there are none to make."""
    changes = changes_of(task.history)
    for pattern in (CODE_TOKENS, FLAT_TOKENS):
        tokens = tokenise(task.region, pattern)
        edits = _repeat(changes, tokens, pattern)
        if edits:
            return apply_edits(tokens, edits)
    return task.region


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one line: `old` became `new`; None: it was added, or removed. `above` and `below` are the lines
    around an added or removed one that stayed as they were, None where the diff shows none."""

    old: str | None
    new: str | None
    above: str | None = None
    below: str | None = None

    @property
    def longest(self) -> int:
        return max(len(self.old or ""), len(self.new or ""))


def changes_of(history: Iterable[HistoryEvent]) -> list[Change]:
    """The line changes of the history's edits, oldest first, without those that end as they began."""
    changes: list[Change] = []
    for event in history:
        if event.kind != "edit":
            continue
        hunks = hunks_of(event.diff.replace("\r\n", "\n"))
        for change in (change for hunk in hunks for change in _changes_of_hunk(hunk)):
            # a line that is changed again, often while it is typed: from its first form to its last
            earlier = next(
                (one for one in changes if None not in (one.old, one.new, change.old) and one.new == change.old), None
            )
            if earlier is not None:
                changes.remove(earlier)
                change = Change(earlier.old, change.new, change.above, change.below)
            changes.append(change)
    return [change for change in changes if change.old != change.new and change.longest <= LONGEST_LINE]


def _changes_of_hunk(hunk: Sequence[DiffLine]) -> list[Change]:
    changes: list[Change] = []
    removed: list[str] = []
    added: list[str] = []
    above: str | None = None
    for sign, line in [*hunk, ("", "")]:
        if sign == "-" and not added:
            removed.append(line)
        elif sign == "+":
            added.append(line)
        else:
            below = line if sign == " " else None
            if len(removed) == len(added):
                changes += [Change(old.strip(), new.strip()) for old, new in zip(removed, added, strict=True)]
            elif len(removed) + len(added) == 1:
                changes += [Change(removed[0] if removed else None, added[0] if added else None, above, below)]
            removed, added, above = ([line] if sign == "-" else []), [], below
    return changes


def _rules(change: Change, pattern: re.Pattern[str]) -> Sequence[Rule]:
    if max(len(tokenise(side or "", pattern)) for side in (change.old, change.new)) > MOST_TOKENS:
        return ()
    if change.old is None:
        return added_line_rules(change.new or "", change.above, change.below)
    if change.new is None:
        return removed_line_rules(change.old, change.above, change.below)
    return rules_of(change.old, change.new, pattern) if change.old and change.new else ()


def _repeat(changes: Sequence[Change], tokens: Sequence[str], pattern: re.Pattern[str]) -> list[Edit]:
    accepted: list[Edit] = []
    for change in reversed(changes[-MOST_CHANGES:]):
        for rule in _rules(change, pattern):
            found = rule.edits(tokens)
            if found:
                accepted += [edit for edit in found if not overlaps(edit, accepted)]
                break
    return accepted
