"""The cursor in another column of its line."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from gapo_cli.records import DoesNotApply, EditTask, Perturbed


@dataclass(frozen=True)
class CursorColumn:
    """Any other column of the same line, inside the region where the cursor was inside. A selection stays as it is."""

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply:
        if task.cursor is None:
            return DoesNotApply("no cursor")
        here, end = task.cursor
        if here != end:
            return DoesNotApply("a selection")
        line_start = task.excerpt.rfind("\n", 0, here) + 1
        line_end = task.excerpt.find("\n", here)
        columns = range(line_start, (len(task.excerpt) if line_end < 0 else line_end) + 1)
        first, last = task.editable
        inside = first <= here <= last
        free = [column for column in columns if column != here and (first <= column <= last) == inside]
        if not free:
            return DoesNotApply("an empty line")
        column = generator.choice(free)
        return Perturbed(replace(task, cursor=(column, column)))
