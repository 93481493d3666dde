"""The edits of a history as pairs of old and new lines, and an excerpt as it was before them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gapo_cli.edits.diffs import DiffLine, hunks_of
from gapo_cli.edits.reversal import take_back
from gapo_cli.records import EditTask, HistoryEvent

HEADER = re.compile(r"^@@ -(\d{1,9})(?:,\d+)? \+(\d{1,9})(?:,\d+)? @@")


@dataclass(frozen=True, slots=True)
class Change:
    """One hunk of an edit. `old_start`, `new_start`: the line, from 1, that its header gives it (1 without a header)."""

    path: str
    lines: tuple[DiffLine, ...]
    old_start: int
    new_start: int

    def old(self, context_lines: int | None = None) -> list[str]:
        return [text for sign, text in self._with_context(context_lines) if sign != "+"]

    def new(self, context_lines: int | None = None) -> list[str]:
        return [text for sign, text in self._with_context(context_lines) if sign != "-"]

    @property
    def is_blank(self) -> bool:
        """Nothing but white space comes or goes."""
        return all(not text.strip() for sign, text in self.lines if sign != " ")

    def _with_context(self, context_lines: int | None) -> Sequence[DiffLine]:
        """With so many context lines above and below the changed lines (None: as the diff has them)."""
        if context_lines is None:
            return self.lines
        changed = [place for place, (sign, _) in enumerate(self.lines) if sign != " "]
        return self.lines[max(0, changed[0] - context_lines) : changed[-1] + 1 + context_lines]


def changes_of(event: HistoryEvent) -> list[Change]:
    """The hunks of an edit that change something; none of another event."""
    if event.kind != "edit":
        return []
    pieces: list[list[str]] = [[]]
    for line in event.diff.split("\n"):
        if line.startswith("@@"):
            pieces.append([])
        pieces[-1].append(line)
    found = []
    for piece in pieces:
        header = HEADER.match(piece[0]) if piece else None
        starts = (int(header[1]), int(header[2])) if header else (1, 1)
        # one piece is one hunk; what stands before the first header is one only where there is no header
        if piece and (piece[0].startswith("@@") or len(pieces) == 1):
            found += [Change(event.path, tuple(hunk), *starts) for hunk in hunks_of("\n".join(piece))]
    return found


def before_last_edit(task: EditTask) -> list[str]:
    """The excerpt's rows before the newest edit of the task's file; as they are where there is none or it is not found."""
    last = next((event for event in reversed(task.history) if event.kind == "edit" and event.path == task.path), None)
    return taken_back(task.excerpt.split("\n"), [] if last is None else changes_of(last))


def before_history(task: EditTask) -> list[str]:
    """The excerpt's rows before all edits of the task's file that can be taken back."""
    own = [change for event in task.history for change in changes_of(event) if change.path == task.path]
    return taken_back(task.excerpt.split("\n"), own)


def taken_back(rows: Sequence[str], changes: Sequence[Change]) -> list[str]:
    """Rows before the changes, the newest taken back first; a change that is not found at one place stays."""
    rows = list(rows)
    for change in reversed(changes):
        rows = take_back(change.lines, rows)
    return rows


def same_rows(old: Sequence[str], new: Sequence[str], first: int, last: int) -> list[str]:
    """The rows of `old` that stand where rows first..last of `new` do: rows that both have at their ends keep their
    distance from these, what lies between them belongs to what lies between them."""
    limit = min(len(old), len(new))
    above = next((place for place in range(limit) if old[place] != new[place]), limit)
    below = next((place for place in range(limit - above) if old[-1 - place] != new[-1 - place]), limit - above)
    shift = len(old) - len(new)
    start = first if first <= above else first + shift if first >= len(new) - below else above
    end = last if last < above else last + shift if last >= len(new) - below else len(old) - below - 1
    return list(old[start : end + 1])
