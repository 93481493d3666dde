"""The cursor in the excerpt of an example: a marker inside a line, or a line of its own under the cursor's."""

from __future__ import annotations

import re

from gapo_cli.edits.patches import CURSOR, CURSOR_LINE, characters, offset_of
from gapo_cli.errors import DataError


def read_cursor(text: str) -> tuple[str, int]:
    """The excerpt without its marker, and the cursor's place in it (code points).

    The marker line's `^` points at the column, counted in bytes, of the line above; a `<` instead at where the marker line's
    own text begins. With a marker line, line breaks at the very end are no part of the excerpt. Raises DataError where
    there is neither."""
    if CURSOR in text:
        return text.replace(CURSOR, "", 1), text.index(CURSOR)
    lines = text.split("\n")
    place = next((place for place, line in enumerate(lines) if CURSOR_LINE in line), 0)
    if CURSOR_LINE not in lines[place]:
        raise DataError(f"the excerpt marks no cursor: need {CURSOR} in it, or a line with ^{CURSOR_LINE}")
    if place == 0:
        raise DataError("the cursor's marker line has no line above it")
    marker = lines.pop(place)
    if "^" in marker:
        column = len(marker.partition("^")[0].encode())
    elif "<" in marker:
        column = len(re.match(r"\s*", marker)[0].encode())
    else:
        raise DataError(f"the cursor's marker line has neither ^ nor <: {marker.strip()!r}")
    return "\n".join(lines).rstrip("\n"), offset_of(lines, place - 1, characters(lines[place - 1], column))


def write_cursor(text: str, cursor: int) -> str:
    """The excerpt with the marker inside a line; with a marker line where no line break ends the excerpt, since a fence would
    add one to it."""
    if text.endswith("\n") or CURSOR_LINE in text:
        return text[:cursor] + CURSOR + text[cursor:]
    start, end = text.rfind("\n", 0, cursor) + 1, text.find("\n", cursor)
    end = len(text) if end < 0 else end
    column = len(text[start:cursor].encode())
    return f"{text[:end]}\n{' ' * column}^{CURSOR_LINE}{text[end:]}"
