"""An edit in the middle of being typed: the first line that it writes, cut at a place where a developer may pause. Pure.

Where people pause is not known; the weights are those that Zed's splitter of commits draws with: behind a separator or a bracket
rather than inside a word.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from gapo_cli.tasks.git.file_edits import Edit

WEIGHTS = ((",;:([{", 10), (")]}", 8), (".+-*/=<>&|!", 5))
AFTER_WORD, BLANK, INSIDE_WORD, OTHER = 8, 6, 1, 3


@dataclass(frozen=True, slots=True)
class HalfLine:
    """`text` stands where the edit's first new line will be; it took the place of `removed` old lines (0 or 1)."""

    text: str
    removed: int


def half_typed(edit: Edit, generator: random.Random) -> HalfLine | None:
    """None for an edit that writes no line, or whose first new line has no place to cut: what is typed must differ from the old
    line and hold more than blanks."""
    if edit.rows[0][0] == "-":
        new = next((row[1:] for row in edit.rows if row[0] != "-"), None)
        first = next((row for row in edit.rows if row[0] != "-"), " ")
        if first[0] != "+" or new is None:
            return None
        old, removed = edit.rows[0][1:], 1
    elif edit.rows[0][0] == "+":
        old, new, removed = "", edit.rows[0][1:], 0
    else:
        return None
    start = next(
        (place for place, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    places = [place for place in range(start + 1, len(new)) if new[start:place].strip() and new[:place] != old]
    if not places:
        return None
    (place,) = generator.choices(places, [weight(new, place) for place in places])
    return HalfLine(new[:place], removed)


def weight(line: str, place: int) -> int:
    """How likely it is that somebody pauses with the first `place` characters of a line written."""
    last, following = line[place - 1], line[place : place + 1]
    if last.isalnum() or last == "_":
        return INSIDE_WORD if following.isalnum() or following == "_" else AFTER_WORD
    if last.isspace():
        return BLANK
    return next((value for characters, value in WEIGHTS if last in characters), OTHER)
