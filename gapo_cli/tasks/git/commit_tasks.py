"""One commit's edits as tasks: the first ones are history, the next one is to be predicted. Pure.

The edits of a commit are taken in the order of their files' paths and, within a file, from top to bottom: nobody knows in
which order they were made. A task shows its file as it was when the edits before were made and the rest were not.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gapo_cli.errors import UserError
from gapo_cli.records import EditTask, HistoryEvent, Source
from gapo_cli.tasks.git.file_edits import Edit, EditedFile
from gapo_cli.tasks.languages import language_of

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class TaskShape:
    """How edits become tasks.

    `tasks_per_commit`: at most, drawn evenly. `history_events`: the newest so many that a task shows. `max_event`:
    characters of a history event; a longer one is not shown. `history_context`: unchanged lines around a history edit.
    `margin`: the fewest and the most unchanged lines that the region has above and below the edit. `max_region`:
    characters of the region and of its target. `max_added`: lines that an edit may add over what it removes: more than
    that is written anew. `max_changed`: lines that it removes and adds together. `max_new_words`: the share of an edit's
    new words that may stand nowhere in what the task shows: hashes, version numbers and new names cannot be predicted.
    `context_lines`: the file's lines above and below the region; `max_context`: their characters on either side.
    """

    seed: int = 0
    tasks_per_commit: int = 4
    history_events: int = 12
    max_event: int = 2000
    history_context: int = 3
    margin: tuple[int, int] = (1, 5)
    max_region: int = 1200
    max_added: int = 6
    max_changed: int = 20
    max_new_words: float = 0.5
    context_lines: int = 30
    max_context: int = 3000

    def __post_init__(self) -> None:
        for name in ("tasks_per_commit", "history_events", "max_event", "max_region", "max_added", "max_changed"):
            if getattr(self, name) < 1:
                raise UserError(f"data.source.{name}={getattr(self, name)}: need at least 1")
        for name in ("history_context", "context_lines", "max_context"):
            if getattr(self, name) < 0:
                raise UserError(f"data.source.{name}={getattr(self, name)}: need 0 or more")
        if not 0 <= self.max_new_words <= 1:
            raise UserError(f"data.source.max_new_words={self.max_new_words}: need 0 to 1 (1: off)")
        margin = tuple(self.margin)
        if len(margin) != 2 or not all(isinstance(side, int) for side in margin) or not 1 <= margin[0] <= margin[1]:
            raise UserError(
                f"data.source.margin={list(margin)}: need two whole numbers, the first at least 1, the second no less"
            )
        object.__setattr__(self, "margin", margin)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a commit did, as history tells it; an edit that can be predicted has its `file` and `index`."""

    event: HistoryEvent
    file: EditedFile | None = None
    index: int = 0

    @property
    def tells_something(self) -> bool:
        """History leaves out edits of blanks: they are made, but say nothing about the next one."""
        return self.file is None or not self.file.edits[self.index].is_whitespace_only


def tasks_of_commit(
    name: str, steps: Sequence[Step], source: Source, instruction: str | None, shape: TaskShape
) -> tuple[list[EditTask], Counter]:
    """Up to `tasks_per_commit` tasks, and how many edits gave none by reason. `name`: how the tasks' ids begin;
    `source.revision` is the commit."""
    rejects: Counter[str] = Counter()
    tasks: list[EditTask] = []
    for number, (step, earlier) in enumerate(zip(steps, _told_before(steps), strict=True)):
        if step.file is None:
            continue
        reason = _reason(step.file.edits[step.index], shape) if number else "nothing before it"
        history = [event for event in earlier if len(event.diff) <= shape.max_event]
        task = None
        if reason is None and not history:
            reason = "history too long" if earlier else "only blanks before it"
        if reason is None:
            task = _make_task(f"{name}/{number}", step.file, step.index, history, source, instruction, shape)
            if task is None:
                reason = "too long"
            elif new_words_share(step.file.edits[step.index], task) > shape.max_new_words:
                task, reason = None, "new words"
        if task is None:
            rejects[reason or ""] += 1
        else:
            tasks.append(task)
    left_over = len(tasks) - shape.tasks_per_commit
    if left_over > 0:
        rejects["over tasks_per_commit"] = left_over
        chosen = random.Random(f"{shape.seed}/{source.revision}").sample(range(len(tasks)), shape.tasks_per_commit)
        tasks = [tasks[index] for index in sorted(chosen)]
    return tasks, rejects


def _told_before(steps: Sequence[Step]) -> Iterator[list[HistoryEvent]]:
    """For each step the events before it, without those that tell nothing."""
    told: list[HistoryEvent] = []
    for step in steps:
        yield told
        if step.tells_something:
            told.append(step.event)


def _reason(edit: Edit, shape: TaskShape) -> str | None:
    """Why an edit by itself is nothing to predict."""
    if edit.is_whitespace_only:
        return "whitespace only"
    if len(edit.added) - len(edit.removed) > shape.max_added:
        return "mostly new text"
    if len(edit.added) + len(edit.removed) > shape.max_changed:
        return "too long"
    return None


def _make_task(
    name: str,
    file: EditedFile,
    index: int,
    history: Sequence[HistoryEvent],
    source: Source,
    instruction: str | None,
    shape: TaskShape,
) -> EditTask | None:
    """None where region or target are too long, or there is no line to begin from."""
    edit = file.edits[index]
    lines = file.state(index)
    at = file.position(index)
    removed = edit.end - edit.start
    # the same edit gets the same margins wherever it stands, so that copies of a commit are found to be copies
    generator = random.Random("\n".join((str(shape.seed), *edit.rows)))
    first = max(0, at - generator.randint(*shape.margin))
    last = at + removed + min(generator.randint(*shape.margin), file.unchanged_after(index))
    region = lines[first:last]
    target = [*lines[first:at], *edit.replacement, *lines[at + removed : last]]
    if not region or max(_size(region), _size(target)) > shape.max_region:
        return None
    above = first - _fitting(reversed(lines[max(0, first - shape.context_lines) : first]), shape.max_context)
    below = last + _fitting(lines[last : last + shape.context_lines], shape.max_context)
    before, after = _join(lines[above:first]), _join(lines[last:below])
    excerpt = before + _join(region) + after
    cursor = len(before) + _size(lines[first:at])
    if edit.rows[0][0] == "-":
        cursor += len(lines[at]) - len(lines[at].lstrip())
    elif at > first:
        cursor -= 1  # before the line end of the line after which lines are added
    shown = history[-shape.history_events :]
    return EditTask(
        id=name,
        source=source,
        language=language_of(file.path),
        path=file.path,
        excerpt=excerpt,
        editable=(len(before), len(before) + _size(region)),
        target=_join(target),
        cursor=(cursor, cursor),
        at_file_start=above == 0,
        history=tuple(shown),
        instruction=instruction,
        labels={"family": edit.kind, "history": "same file" if shown[-1].path == file.path else "other file"},
    )


def new_words_share(edit: Edit, task: EditTask) -> float:
    """Of the different words that an edit adds and does not remove, the share that neither the excerpt nor the history
    has. 0 where it adds none."""
    added = set(_WORD.findall("\n".join(edit.added))) - set(_WORD.findall("\n".join(edit.removed)))
    if not added:
        return 0.0
    shown = "\n".join((task.excerpt, *(f"{event.path} {event.old_path} {event.diff}" for event in task.history)))
    return len(added - set(_WORD.findall(shown))) / len(added)


def _join(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _size(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _fitting(lines: Sequence[str], characters: int) -> int:
    """How many of the first lines have no more than so many characters together."""
    count = 0
    for line in lines:
        characters -= len(line) + 1
        if characters < 0:
            break
        count += 1
    return count
