"""A file's edits one after the other: what it looks like before each, and how each reads as a unified diff. Pure.

Changes a few lines apart are one edit, as a developer would make them. Lines are without line ends; every text made of
them ends in "\\n", whether or not the file's last line does: that difference is no edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class LineChange:
    """Lines [start, end) of the old file become `added`."""

    start: int
    end: int
    added: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """Neighbouring changes. Lines [start, end) of the old file become `replacement`; `rows` is that as a diff's body,
    each row with its mark (' ', '-' or '+')."""

    start: int
    end: int
    replacement: tuple[str, ...]
    rows: tuple[str, ...]

    @property
    def removed(self) -> list[str]:
        return [row[1:] for row in self.rows if row[0] == "-"]

    @property
    def added(self) -> list[str]:
        return [row[1:] for row in self.rows if row[0] == "+"]

    @property
    def kind(self) -> str:
        """insert, delete or replace."""
        return ("replace" if self.added else "delete") if self.removed else "insert"

    @property
    def is_whitespace_only(self) -> bool:
        return "".join("".join(self.removed).split()) == "".join("".join(self.added).split())


@dataclass(frozen=True, slots=True)
class EditedFile:
    """`lines`: the file before its first edit. Edits are in order and do not overlap."""

    path: str
    lines: tuple[str, ...]
    edits: tuple[Edit, ...]

    def state(self, index: int) -> list[str]:
        """The file's lines when the first `index` edits are made."""
        made: list[str] = []
        position = 0
        for edit in self.edits[:index]:
            made += [*self.lines[position : edit.start], *edit.replacement]
            position = edit.end
        return [*made, *self.lines[position:]]

    def position(self, index: int) -> int:
        """The line, from 0, of `state(index)` where edit `index` begins."""
        return self.edits[index].start + sum(len(edit.replacement) - (edit.end - edit.start) for edit in self.edits[:index])

    def unchanged_after(self, index: int) -> int:
        """How many lines after edit `index` are left before the next edit, or the end of the file."""
        following = self.edits[index + 1].start if index + 1 < len(self.edits) else len(self.lines)
        return following - self.edits[index].end

    def diffs(self, context: int) -> list[str]:
        """Every edit as a hunk against the state before it, with up to `context` lines around."""
        made: list[str] = []
        position = 0
        found = []
        for edit in self.edits:
            made += self.lines[position : edit.start]
            before = made[max(0, len(made) - context) :]
            after = self.lines[edit.end : edit.end + context]
            rows = [*(f" {line}" for line in before), *edit.rows, *(f" {line}" for line in after)]
            around = len(before) + len(after)
            found.append(hunk(len(made) - len(before), edit.end - edit.start + around, len(edit.replacement) + around, rows))
            made += edit.replacement
            position = edit.end
        return found


def hunk(start: int, removed: int, added: int, rows: Sequence[str]) -> str:
    """A unified diff's hunk at line `start` (from 0) of both texts; rows with their marks."""
    # a side without lines is named by the line before it
    old, new = start + (removed > 0), start + (added > 0)
    return "".join(f"{row}\n" for row in (f"@@ -{old},{removed} +{new},{added} @@", *rows))


def new_file_hunk(lines: Sequence[str]) -> str:
    return hunk(0, 0, len(lines), [f"+{line}" for line in lines])


def join_changes(lines: Sequence[str], changes: Sequence[LineChange], join: int) -> tuple[Edit, ...]:
    """Edits out of changes in order; those with at most `join` unchanged lines between them are one edit."""
    groups: list[list[LineChange]] = []
    for change in changes:
        if groups and change.start - groups[-1][-1].end <= join:
            groups[-1].append(change)
        else:
            groups.append([change])
    return tuple(_edit(lines, group) for group in groups)


def _edit(lines: Sequence[str], changes: Sequence[LineChange]) -> Edit:
    rows: list[str] = []
    position = changes[0].start
    for change in changes:
        rows += [f" {line}" for line in lines[position : change.start]]
        rows += [f"-{line}" for line in lines[change.start : change.end]]
        rows += [f"+{line}" for line in change.added]
        position = change.end
    replacement = tuple(row[1:] for row in rows if row[0] != "-")
    return Edit(changes[0].start, position, replacement, tuple(rows))


def decode_lines(content: bytes) -> list[str]:
    """A file's lines, without line ends and byte-order mark. "\\n" and "\\r\\n" end lines and nothing else does. Raises
    UnicodeDecodeError for what is not UTF-8."""
    lines = content.decode("utf-8").removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").split("\n")
    last = lines.pop()
    return [*lines, last.removesuffix("\r")] if last else lines


def has_mixed_line_ends(content: bytes) -> bool:
    """Some lines end in "\\r\\n" and some in "\\n"."""
    return 0 < content.count(b"\r\n") < content.count(b"\n")
