"""A truncated context: lines far from the region are gone from the excerpt."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from gapo_cli.perturbations.texts import lost_words
from gapo_cli.records import DoesNotApply, EditTask, Perturbed


@dataclass(frozen=True)
class ShorterExcerpt:
    """Up to half of the lines above and of those below the region are left out, the farthest first, as long as no word of the answer
    is lost with them. The cursor's line stays."""

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply:
        above, below = task.before.splitlines(keepends=True), task.after.splitlines(keepends=True)
        first = sum(map(len, above[: generator.randint(0, len(above) // 2)]))
        cut = generator.randint(0, len(below) // 2)
        last = len(task.excerpt) - sum(map(len, below[len(below) - cut :]))
        if task.cursor is not None:
            first = min(first, task.excerpt.rfind("\n", 0, task.cursor[0]) + 1)
            line_end = task.excerpt.find("\n", task.cursor[1])
            last = max(last, len(task.excerpt) if line_end < 0 else line_end + 1)
        if first == 0 and last == len(task.excerpt):
            return DoesNotApply("no lines to leave out")
        start, end = task.editable
        changed = replace(
            task,
            excerpt=task.excerpt[first:last],
            editable=(start - first, end - first),
            cursor=None if task.cursor is None else (task.cursor[0] - first, task.cursor[1] - first),
            at_file_start=task.at_file_start and first == 0,
        )
        if lost_words(task, changed):
            return DoesNotApply("the lines left out are needed")
        return Perturbed(changed)
