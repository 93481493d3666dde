"""Offsets as editors and languages count them, as code points, which is what an EditTask counts."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from gapo_cli.errors import DataError
from gapo_cli.records import EditTask

UNITS = ("codepoint", "utf16", "byte")
ENCODINGS = {"utf16": ("utf-16-le", 2), "byte": ("utf-8", 1)}
WORDS = {"utf16": "UTF-16 units, as LSP and JavaScript count", "byte": "bytes of UTF-8"}


def code_points(text: str, offsets: Sequence[int], unit: str, name: str) -> tuple[int, ...]:
    """Offsets into `text`, counted in `unit`, as code points. Raises DataError for one that lies outside or inside a character; of code
    points, with the unit in which it would lie inside."""
    if unit == "codepoint":
        outside = [offset for offset in offsets if not 0 <= offset <= len(text)]
        if outside:
            raise DataError(
                f"field '{name}' has the offset {outside[0]}, and the excerpt has {len(text)} characters{_fitting(text, offsets)}"
            )
        return tuple(offsets)
    encoding, width = ENCODINGS[unit]
    encoded = text.encode(encoding)
    found = []
    for offset in offsets:
        if not 0 <= offset * width <= len(encoded):
            raise DataError(
                f"field '{name}' has the offset {offset}, and the excerpt has {len(encoded) // width} {WORDS[unit]}"
            )
        try:
            found.append(len(encoded[: offset * width].decode(encoding)))
        except UnicodeDecodeError as error:
            raise DataError(f"field '{name}' has the offset {offset}, which lies inside a character ({WORDS[unit]})") from error
    return tuple(found)


def _fitting(text: str, offsets: Sequence[int]) -> str:
    """The advice where another unit takes all offsets."""
    for unit in ENCODINGS:
        with contextlib.suppress(DataError):
            code_points(text, offsets, unit, "")
            return f"; as {WORDS[unit]}, it lies within: set data.offsets={unit} where they are"
    return ""


def fitting_unit(tasks: Sequence[EditTask]) -> str | None:
    """The unit in which the regions of these tasks, all of which begin or end inside a line, would be whole lines; None where
    neither makes at least half of them whole."""
    counts = {unit: sum(_is_whole(task, unit) for task in tasks) for unit in ENCODINGS}
    best = max(counts, key=lambda unit: counts[unit])
    return best if tasks and 2 * counts[best] >= len(tasks) else None


def _is_whole(task: EditTask, unit: str) -> bool:
    try:
        start, end = code_points(task.excerpt, task.editable, unit, "editable")
    except DataError:
        return False
    text = task.excerpt
    return start <= end and all(offset in (0, len(text)) or text[offset - 1] == "\n" for offset in (start, end))
