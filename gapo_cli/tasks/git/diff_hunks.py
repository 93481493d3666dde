"""Reading the patches that `git diff-tree --stdin -p -U0 --full-index` writes. Bytes in, changes out; nothing is run.

Only commit ids, blob ids, line numbers and added lines are read: what was removed stands in the old blob. Paths are left
alone (git's raw output has them without quoting); the body of a hunk is read by its line counts, so that no content can
pass for a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gapo_cli.errors import DataError

_COMMIT = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_INDEX = re.compile(rb"index ([0-9a-f]{40,64})\.\.([0-9a-f]{40,64})(?: [0-7]{6})?")
_HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@.*", re.DOTALL)
_HEADERS = (
    b"old mode ", b"new mode ", b"similarity index ", b"dissimilarity index ", b"rename from ", b"rename to ", b"copy from ",
    b"copy to ", b"new file mode ", b"deleted file mode ", b"--- ", b"+++ ", b"Binary files ",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """Lines [start, start + removed) of the old text, from 0, become `added`, which are without their line ends."""

    start: int
    removed: int
    added: tuple[bytes, ...]

    @property
    def end(self) -> int:
        return self.start + self.removed


@dataclass(frozen=True, slots=True)
class BlobPatch:
    """How one blob becomes another; no changes where git calls one of them binary."""

    old: str
    new: str
    changes: tuple[Change, ...]
    binary: bool = False


def read_patches(lines: Iterable[bytes]) -> Iterator[tuple[str, list[BlobPatch]]]:
    """Yields (commit id, its patches) in the order they come. `lines`: with their line ends. Raises DataError for
    anything that such a stream cannot hold, naming the line."""
    rows = _Rows(lines)
    commit: str | None = None
    patches: list[BlobPatch] = []
    while (row := rows.take()) is not None:
        if _COMMIT.fullmatch(row):
            if commit is not None:
                yield commit, patches
            commit, patches = row.decode(), []
        elif row.startswith(b"diff --git ") and commit is not None:
            patch = _read_patch(rows)
            if patch is not None:
                patches.append(patch)
        elif row:
            raise rows.error(row, "a commit id or the start of a file's patch")
    if commit is not None:
        yield commit, patches


def _read_patch(rows: _Rows) -> BlobPatch | None:
    """What follows a `diff --git` line. None where no blob changed (a new mode, a pure rename)."""
    blobs: tuple[str, str] | None = None
    binary = False
    changes: list[Change] = []
    while (row := rows.take()) is not None:
        if found := _HUNK.fullmatch(row):
            if blobs is None:
                raise rows.error(row, "the ids of the two blobs before the first hunk")
            changes.append(_read_change(rows, found, changes[-1].end if changes else 0))
        elif not changes and (found := _INDEX.fullmatch(row)):
            blobs = (found[1].decode(), found[2].decode())
        elif row.startswith(_HEADERS) and not changes:
            binary = binary or row.startswith(b"Binary files ")
        else:
            rows.give_back(row)
            break
    return None if blobs is None else BlobPatch(*blobs, tuple(changes), binary)


def _read_change(rows: _Rows, header: re.Match[bytes], earliest: int) -> Change:
    """The body of a hunk without context lines. `earliest`: the line that the previous hunk of this file ends before."""
    removed, added = (1 if count is None else int(count) for count in (header[2], header[4]))
    # a hunk that removes nothing names the line after which it adds
    start = int(header[1]) - (1 if removed else 0)
    if start < earliest or not removed + added:
        raise rows.error(header[0], "a hunk after the one before it")
    removed_left = removed
    lines: list[bytes] = []
    while removed_left or len(lines) < added:
        row = rows.take()
        if row is not None and row.startswith(b"-") and removed_left:
            removed_left -= 1
        elif row is not None and row.startswith(b"+") and len(lines) < added:
            lines.append(row[1:])
        elif row is None or not row.startswith(b"\\"):
            raise rows.error(row or b"", f"{removed_left} more removed and {added - len(lines)} more added lines")
    row = rows.take()
    if row is not None and not row.startswith(b"\\"):  # "\ No newline at end of file"
        rows.give_back(row)
    return Change(start, removed, tuple(lines))


class _Rows:
    """Lines without their "\\n", numbered for messages, with one line of looking ahead."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.lines = iter(lines)
        self.number = 0
        self.ahead: bytes | None = None

    def take(self) -> bytes | None:
        self.number += 1
        if self.ahead is not None:
            row, self.ahead = self.ahead, None
            return row
        row = next(self.lines, None)
        return None if row is None else row.removesuffix(b"\n")

    def give_back(self, row: bytes) -> None:
        self.number -= 1
        self.ahead = row

    def error(self, row: bytes, need: str) -> DataError:
        shown = row[:60].decode(errors="replace")
        return DataError(f"git's patch, line {self.number}: need {need}, got {shown!r}")
