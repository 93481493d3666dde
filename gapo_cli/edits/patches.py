"""Unified diffs as people and models write them: read with wrong line counts, applied by their text, and written.

A hunk is found by its context and removed lines; the numbers in its header only choose between several such places. Two ways
to say where the cursor goes are understood: `<|user_cursor|>` inside an added line, and the older line under it that begins
with `#` and points up with `^` (or with `<` at the line's start) before `[CURSOR_POSITION]`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gapo_cli.edits.diffs import DiffLine
from gapo_cli.errors import DataError

CURSOR = "<|user_cursor|>"
CURSOR_LINE = "[CURSOR_POSITION]"
NO_FILE = "/dev/null"
NO_NEWLINE = "\\ No newline at end of file"
CONTEXT = 3
"""Unchanged lines around a change, where a patch is written."""

HEADER = re.compile(r"@@(?: -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@)?")
WRITTEN = re.compile(r"@@ -\d+,\d+ \+(\d+),(\d+) @@")
BETWEEN = ("diff ", "index ", "new file mode ", "deleted file mode ", "old mode ", "new mode ", "similarity index ",
           "rename ", "//")  # fmt: skip
"""How lines begin that may stand between hunks; `//` heads a group of hunks of a reordered commit."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """`path` is None for a file that is deleted, `old_path` for one that is new. `line`: where the header says that the old
    side begins, from 1, None where it says nothing. `cursor`: (row, character in its text). `bare`: how many rows at the end
    were wholly empty, so that they may be context or just end the text. `leads`: it is the first after a file's header.
    `ends_old`, `ends_new`: that side's last line ends its file without a line end."""

    old_path: str | None
    path: str | None
    rows: tuple[DiffLine, ...]
    line: int | None = None
    cursor: tuple[int, int] | None = None
    bare: int = 0
    leads: bool = False
    ends_old: bool = False
    ends_new: bool = False

    @property
    def old(self) -> list[str]:
        return [text for sign, text in self.rows if sign != "+"]

    @property
    def new(self) -> list[str]:
        return [text for sign, text in self.rows if sign != "-"]

    def without_tail(self) -> Hunk:
        return replace(self, rows=self.rows[: len(self.rows) - self.bare], bare=0)


@dataclass(frozen=True, slots=True)
class Applied:
    """A text with a patch made in it, and where the patch puts the cursor (code points), None where it does not say."""

    text: str
    cursor: int | None


def is_file_header(lines: Sequence[str], place: int) -> bool:
    """Two path lines with a hunk behind them: a removed line that begins with `-- ` looks like the first alone."""
    following = lines[place + 1 : place + 3]
    return (
        lines[place].startswith("--- ") and len(following) == 2 and following[0].startswith("+++ ") and following[1][:2] == "@@"
    )


def read_patch(text: str) -> list[Hunk]:
    """The hunks of a patch, of several files perhaps. Raises DataError for a line that belongs to no patch."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    hunks: list[Hunk] = []
    paths: tuple[str | None, str | None] = (None, None)
    rows: list[str] | None = None
    line, leads, place = None, False, 0

    def close() -> None:
        if rows is not None:
            hunks.append(_hunk(*paths, rows, line, leads))

    while place < len(lines):
        row = lines[place]
        if is_file_header(lines, place):
            close()
            rows, leads = None, True
            paths = (_path(row[4:]), _path(lines[place + 1][4:]))
            place += 1
        elif header := HEADER.match(row):
            close()
            leads = leads and rows is None
            rows, line = [], int(header[1]) if header[1] else None
        elif rows is not None and (row[:1] in ("", " ", "+", "-", "\\") or _is_cursor_line(row)):
            rows.append(row)
        elif row.startswith(BETWEEN):
            close()
            rows = None
        elif row.strip():
            raise DataError(f"line {place + 1} belongs to no patch: {row[:60]!r}")
        place += 1
    close()
    return hunks


def _path(written: str) -> str | None:
    """The path of a header line: without `a/` or `b/` in front and a date behind."""
    path = written.split("\t")[0].rstrip()
    return None if path == NO_FILE else re.sub(r"^[ab]/", "", path)


def _is_cursor_line(row: str) -> bool:
    return row.startswith("#") and CURSOR_LINE in row


def _hunk(old_path: str | None, path: str | None, rows: Sequence[str], line: int | None, leads: bool) -> Hunk:
    kept: list[DiffLine] = []
    cursor: tuple[int, int] | None = None
    ends = {"-": False, "+": False}
    bare = 0
    for row in rows:
        if row.startswith("\\"):
            sign = kept[-1][0] if kept else " "
            ends |= {side: True for side in ("-", "+") if sign in (" ", side)}
            continue
        if _is_cursor_line(row):
            if kept and cursor is None:
                # its `#` stands where the sign of the line above stands
                column = len(row.partition("^")[0].encode()) - 1 if "^" in row else 0
                cursor = (len(kept) - 1, characters(kept[-1][1], column))
            continue
        sign, text = row[:1] or " ", row[1:]
        if sign == "+" and CURSOR in text:
            cursor = cursor or (len(kept), text.index(CURSOR))
            text = text.replace(CURSOR, "", 1)
        kept.append((sign, text))
        bare = bare + 1 if row == "" else 0
    return Hunk(old_path, path, tuple(kept), line, cursor, bare, leads, ends["-"], ends["+"])


def characters(line: str, column: int) -> int:
    """How many characters of a line lie in its first `column` bytes of UTF-8."""
    return len(line.encode()[: max(0, column)].decode(errors="ignore"))


def apply_hunks(text: str, hunks: Sequence[Hunk]) -> Applied:
    """Makes one hunk after the other. Raises DataError for one whose old side is nowhere in the text, or in several places
    of which its header names none."""
    lines, ended = split_lines(text)
    cursor: tuple[int, int] | None = None  # line and column
    shift = 0
    for number, hunk in enumerate(hunks, start=1):
        if hunk.leads:
            shift = 0
        try:
            hunk, at = find_hunk(lines, hunk, shift)
        except DataError as error:
            raise DataError(f"hunk {number} does not apply: {error}") from error
        old, new = hunk.old, hunk.new
        if at + len(old) == len(lines) and hunk.ends_old != hunk.ends_new:
            ended = hunk.ends_old  # where neither side has the last line end, the text may have one: it stays as it is
        lines[at : at + len(old)] = new
        added = len(new) - len(old)
        shift += added
        if hunk.cursor is not None and cursor is None:
            row, column = hunk.cursor
            cursor = (at + sum(sign != "-" for sign, _ in hunk.rows[:row]), column)
        elif cursor is not None and at + len(old) <= cursor[0]:
            cursor = (cursor[0] + added, cursor[1])
    return Applied(join_lines(lines, ended), None if cursor is None else offset_of(lines, *cursor))


def offset_of(lines: Sequence[str], row: int, column: int) -> int:
    """The place of a row and column in the joined lines; a column beyond its line is that line's end."""
    return sum(len(line) + 1 for line in lines[:row]) + min(column, len(lines[row]))


def find_hunk(lines: Sequence[str], hunk: Hunk, shift: int = 0) -> tuple[Hunk, int]:
    """The hunk, without empty rows at its end if it fits only so, and the line where it begins. `shift`: how many lines the
    hunks before it in the same file have added. Raises DataError."""
    named = None if hunk.line is None else hunk.line + shift
    for tried in (hunk, hunk.without_tail()) if hunk.bare else (hunk,):
        old = tried.old
        if not old:
            # a hunk without an old side names the line after which it adds
            if named is not None and named <= len(lines):
                return tried, named
            raise DataError("it has no context, and its header names no line of the text")
        places = list(occurrences(lines, old))
        if len(places) == 1:
            return tried, places[0]
        if named is not None and named - 1 in places:
            return tried, named - 1
        if places:
            raise DataError(f"its context stands in {len(places)} places, none of which is the header's line")
    shown = next((line.strip() for line in hunk.old if line.strip()), "")
    raise DataError(f"its context, which begins with {shown[:60]!r}, is not in the text")


def occurrences(lines: Sequence[str], wanted: Sequence[str]) -> Iterator[int]:
    """Where a run of lines begins in others."""
    for at in range(len(lines) - len(wanted) + 1):
        if lines[at] == wanted[0] and list(lines[at : at + len(wanted)]) == list(wanted):
            yield at


def split_lines(text: str) -> tuple[list[str], bool]:
    """The lines without their line ends, and whether the last one has one (an empty text: yes). Only "\\n" ends a line."""
    lines = text.split("\n")
    ended = lines[-1] == ""
    return (lines[:-1] if ended else lines), ended


def join_lines(lines: Sequence[str], ended: bool) -> str:
    return "\n".join(lines) + ("\n" if ended and lines else "")


def diff_hunks(before: str, after: str, context: int = CONTEXT) -> str:
    """The hunks of a unified diff, without file headers; "" where the texts are equal."""
    old, old_ended = split_lines(before)
    new, new_ended = split_lines(after)
    # a last line without its line end is another line
    old, new = _marked(old, old_ended), _marked(new, new_ended)
    written = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(context):
        first, last = group[0], group[-1]
        written.append(f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@\n")
        for kind, old_start, old_end, new_start, new_end in group:
            written += [f"{' ' if kind == 'equal' else '-'}{line}\n" for line in old[old_start:old_end]]
            written += [f"+{line}\n" for line in new[new_start:new_end] if kind != "equal"]
    return "".join(written)


def _marked(lines: list[str], ended: bool) -> list[str]:
    return lines if ended or not lines else [*lines[:-1], f"{lines[-1]}\n{NO_NEWLINE}"]


def _span(start: int, end: int) -> str:
    # a side without lines is named by the line before it
    return f"{start + (end > start)},{end - start}"


def write_patch(path: str, before: str, after: str, cursor: int | None = None) -> str:
    """A patch of one file; "" where nothing changes. `cursor`: where it goes, an offset into `after`; it is left out where
    its line is no added one."""
    hunks = diff_hunks(before, after)
    if not hunks:
        return ""
    patch = f"--- a/{path}\n+++ b/{path}\n{hunks}"
    return patch if cursor is None else _with_cursor(patch, after, cursor)


def _with_cursor(patch: str, after: str, cursor: int) -> str:
    """A patch that `write_patch` made, with the cursor's marker in the added line where it goes."""
    wanted, column = after.count("\n", 0, cursor), cursor - (after.rfind("\n", 0, cursor) + 1)
    lines = patch.split("\n")
    row = 0
    for place, line in enumerate(lines[2:], start=2):
        if header := WRITTEN.match(line):
            row = int(header[1]) - (header[2] != "0")
        elif line[:1] in ("+", " "):
            if row == wanted:
                marked = f"{line[: 1 + column]}{CURSOR}{line[1 + column :]}"
                return "\n".join([*lines[:place], marked, *lines[place + 1 :]]) if line[0] == "+" else patch
            row += 1
    return patch
