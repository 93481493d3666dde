"""A line put into a task's excerpt outside its region: where there is room for one, and the task with it."""

from __future__ import annotations

import re
from dataclasses import replace

from gapo_cli.perturbations.quotes import Quoted
from gapo_cli.records import EditTask

LINE_START = re.compile(r"^", re.MULTILINE)


def places_for_a_line(task: EditTask, quotes: Quoted) -> list[int]:
    """Offsets into the excerpt, outside the region, where a line begins that is neither in a string or comment nor the
    continuation of the line before. The first line of a file stays the first: it may say how the file is read."""
    start, end = task.editable
    text = task.excerpt
    found = [one.start() for one in LINE_START.finditer(text)]
    return [
        offset
        for offset in found
        if (offset <= start or offset >= end)
        and not quotes.inside(offset)
        and not text[:offset].endswith("\\\n")
        and not (offset == 0 and task.at_file_start)
    ]


def with_line(task: EditTask, offset: int, line: str) -> EditTask:
    """The task with `line` at one of `places_for_a_line`. What stood there, the cursor with it, comes below."""
    start, end = task.editable
    above = offset <= start
    size = len(line) + 1

    def moved(position: int) -> int:
        # at the end of the region the cursor belongs to it, and a line that is put in below leaves it there
        return position + size * (position >= offset if above else position >= offset and position > end)

    return replace(
        task,
        excerpt=f"{task.excerpt[:offset]}{line}\n{task.excerpt[offset:]}",
        editable=(start + size, end + size) if above else task.editable,
        cursor=None if task.cursor is None else (moved(task.cursor[0]), moved(task.cursor[1])),
    )
