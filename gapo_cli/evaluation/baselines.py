"""What is reached without a model: leave the region as it stands, or repeat what the history did.

A model that does not beat these has learnt nothing that a text editor could not do. `replace_baseline` takes every
changed line of the history's diffs, learns textual substitutions from it (textual_edits.py) and makes them in the region:

- A run of removed lines is paired with the run of added lines after it, line by line, if both are equally long; anything
  else (lines only added, only removed, blocks that changed their length) teaches nothing. A line that was changed again
  later counts once, from its first to its last form.
- Of each change, the plainest rule that finds a place in the region is used: the same word or text (with the same dot
  before or bracket behind, then without); an argument added to calls of the same function; an insertion or a changed
  operator between the same neighbours; and last a template, where what the change kept or moved is a hole. The same
  rules are tried with quoted strings as single tokens first, then with the words inside them.
- A rule is made at every place where it fits in the region, the newest change first where two compete. A place that
  shows the new text already is left alone.
- It does not parse, does not know any language, does not look outside the region, invents no names, and does not
  generalise over several examples (after `== None` → `is None` it does not know what becomes of `!= None`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from gapo_cli.evaluation.predictions import predicted_region
from gapo_cli.evaluation.summary import Breakdown, summarise
from gapo_cli.evaluation.textual_edits import CODE_TOKENS, FLAT_TOKENS, Edit, apply_edits, overlaps, rules_of, tokenise
from gapo_cli.records import EditTask, HistoryEvent


def copy_baseline(task: EditTask) -> str:
    """The region unchanged."""
    return task.region


def replace_baseline(task: EditTask) -> str:
    """The region with the textual replacements of the history made in it; unchanged where there are none to make."""
    changes = changed_lines(task.history)
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


def changed_lines(history: Iterable[HistoryEvent]) -> list[tuple[str, str]]:
    """The (old, new) lines of the history's edits, oldest first, without their indentation and without those that end as
    they began."""
    changes: list[tuple[str, str]] = []
    for event in history:
        if event.kind != "edit":
            continue
        for old, new in _pairs(event.diff):
            # a line that is changed again, often while it is typed: from its first form to its last
            earlier = next((number for number, change in enumerate(changes) if change[1] == old), None)
            if earlier is not None:
                old = changes.pop(earlier)[0]
            changes.append((old, new))
    return [(old, new) for old, new in changes if old != new]


def _pairs(diff: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    removed: list[str] = []
    added: list[str] = []
    for line in [*diff.splitlines(), ""]:
        if line.startswith(("--- ", "+++ ")):
            continue
        if line.startswith("-") and not added:
            removed.append(line[1:].strip())
        elif line.startswith("+"):
            added.append(line[1:].strip())
        else:
            if len(removed) == len(added):
                pairs += [pair for pair in zip(removed, added, strict=True) if all(pair)]
            removed, added = ([line[1:].strip()] if line.startswith("-") else []), []
    return pairs


def _repeat(changes: Sequence[tuple[str, str]], tokens: Sequence[str], pattern: re.Pattern[str]) -> list[Edit]:
    accepted: list[Edit] = []
    for old, new in reversed(changes):
        for _, rule in rules_of(old, new, pattern):
            found = [edit for edit in rule.edits(tokens) if not overlaps(edit, accepted)]
            if found:
                accepted += found
                break
    return accepted
