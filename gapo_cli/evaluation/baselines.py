"""What is reached without a model: leave the region as it stands, or repeat what the history did.

A model that does not beat these has learnt nothing that a text editor could not do. `replace_baseline` takes every
changed line of the history's diffs, learns textual substitutions from it (textual_edits.py, substitutions.py) and makes
them in the region:

- A run of removed lines is paired with the run of added lines after it, line by line, if both are equally long. One line
  that was only added or only removed is learnt with its neighbours (line_edits.py); longer blocks that changed their
  length teach nothing, and neither do lines of more than LONGEST_LINE characters or MOST_TOKENS tokens. A line that was
  changed again later counts once, from its first to its last form; of many changes the newest MOST_CHANGES count.
- Of each change, the plainest rule that finds a place in the region is used: the same word or text (with the same dot
  before or bracket behind, then without); an argument added to calls of the same function; an insertion or a changed
  operator between the same neighbours; other quotes; and last a template, where what the change kept or moved is a hole.
  All this is tried with quoted strings as single tokens first, then with the words inside them.
- A rule is applied at every place where it fits in the region, the newest change first where two compete. A place that
  shows the new text already is left alone.
- It does not parse, does not know any language, does not look outside the region, invents no names, and does not
  generalise over several examples (after `== None` → `is None` it does not know what becomes of `!= None`).

On data=stdlib, whose tasks are such repetitions, it is right far more often than a small model; on edits that people made
it is right hardly more often than a copy. It stands beside every result so that nobody mistakes the one for the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gapo_cli.evaluation.line_edits import added_line_rules, removed_line_rules
from gapo_cli.evaluation.predictions import predicted_region
from gapo_cli.evaluation.substitutions import Edit, Rule, apply_edits, overlaps
from gapo_cli.evaluation.summary import Breakdown, summarise
from gapo_cli.evaluation.textual_edits import rules_of
from gapo_cli.evaluation.tokens import CODE_TOKENS, FLAT_TOKENS, tokenise
from gapo_cli.records import EditTask, HistoryEvent

LONGEST_LINE = 1000
MOST_TOKENS = 256
"""Of a line. Generated and minified lines are not what a person edits, and comparing them takes time that grows with the
third power of their length where tokens repeat."""
MOST_CHANGES = 256
"""The newest ones that are tried: no answer takes longer than seconds, whatever the history holds."""


def copy_baseline(task: EditTask) -> str:
    """The region unchanged."""
    return task.region


def replace_baseline(task: EditTask) -> str:
    """The region with the textual replacements of the history made in it; unchanged where there are none to make."""
    changes = changes_of(task.history)
    for pattern in (CODE_TOKENS, FLAT_TOKENS):
        tokens = tokenise(task.region, pattern)
        edits = _repeat(changes, tokens, pattern)
        if edits:
            return apply_edits(tokens, edits)
    return task.region


BASELINES: Mapping[str, Callable[[EditTask], str]] = MappingProxyType({"copy": copy_baseline, "replace": replace_baseline})


def measure_baselines(tasks: Iterable[EditTask]) -> dict[str, Breakdown]:
    """Each baseline's answers to the tasks, measured as a model's greedy answers are. Raises ValueError without tasks."""
    tasks = tuple(tasks)
    measured = {}
    for name, baseline in BASELINES.items():
        breakdown = summarise([predicted_region(task, baseline(task)) for task in tasks]).greedy
        if breakdown is None:
            raise ValueError("measure_baselines: need at least one task")
        measured[name] = breakdown
    return measured


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
        for change in _changes_of_diff(event.diff):
            # a line that is changed again, often while it is typed: from its first form to its last
            earlier = next(
                (one for one in changes if None not in (one.old, one.new, change.old) and one.new == change.old), None
            )
            if earlier is not None:
                changes.remove(earlier)
                change = Change(earlier.old, change.new, change.above, change.below)
            changes.append(change)
    return [change for change in changes if change.old != change.new and change.longest <= LONGEST_LINE]


def _changes_of_diff(diff: str) -> list[Change]:
    changes: list[Change] = []
    removed: list[str] = []
    added: list[str] = []
    above: str | None = None
    # str.splitlines would cut at form feeds and at Unicode's separators, too
    for line in [*(row.removesuffix("\r") for row in diff.split("\n")), "@@"]:
        if line.startswith(("--- ", "+++ ", "\\")):
            continue
        if line.startswith("-") and not added:
            removed.append(line[1:])
        elif line.startswith("+"):
            added.append(line[1:])
        else:
            below = line[1:] if line.startswith(" ") else None
            if len(removed) == len(added):
                changes += [Change(old.strip(), new.strip()) for old, new in zip(removed, added, strict=True)]
            elif len(removed) + len(added) == 1:
                changes += [Change(removed[0] if removed else None, added[0] if added else None, above, below)]
            removed, added, above = ([line[1:]] if line.startswith("-") else []), [], below
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
