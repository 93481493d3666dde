"""One commit's edits as tasks: the first ones are history, the next one is to be predicted. Pure.

The edits of a commit are taken in the order of their files' paths and, within a file, from top to bottom: nobody knows in
which order they were made. A task shows its file as it was when the edits before were made and the rest were not.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gapo_cli.errors import UserError
from gapo_cli.records import EditTask, HistoryEvent, Source
from gapo_cli.tasks.git.file_edits import Edit, EditedFile, LineChange, join_changes
from gapo_cli.tasks.git.half_typed import half_typed
from gapo_cli.tasks.languages import language_of

_WORD = re.compile(r"\w+")
NEW_SIDE = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)")
CROSS_FILE, NEAR, FAR, HALF_TYPED, NO_EDIT = "cross file", "near", "far", "half typed", "no edit"
"""The label `kind`: where the edit lies, seen from the last thing that was done, or that it is begun, or that there is none."""
NEAR_ROWS = 30


@dataclass(frozen=True, kw_only=True)
class TaskShape:
    """How edits become tasks.

    `tasks_per_commit`: at most, drawn evenly. `history_events`: the newest so many that a task shows. `max_event`:
    characters of a history event; a longer one is not shown. `history_context`: unchanged lines around a history edit.
    `margin`: the fewest and the most unchanged lines that the region has above and below the edit. `max_region`:
    characters of the region and of its target. `max_added`: lines that an edit may add over what it removes: more than
    that is written again. `max_changed`: lines that it removes and adds together. `max_new_words`: the share of an edit's
    new words that may stand nowhere in what the task shows: hashes, version numbers and new names cannot be predicted.
    `context_lines`: the file's lines above and below the region; `max_context`: their characters on either side.
    `half_typed`: of the edits that can be, the share that is shown with its first new line begun. `no_edit`: of all
    tasks, the share whose right answer is to leave all as it stands, since the commit was done there.
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
    half_typed: float = 0.0
    no_edit: float = 0.0

    def __post_init__(self) -> None:
        for name in ("tasks_per_commit", "history_events", "max_event", "max_region", "max_added", "max_changed"):
            if getattr(self, name) < 1:
                raise UserError(f"data.source.{name}={getattr(self, name)}: need at least 1")
        for name in ("history_context", "context_lines", "max_context"):
            if getattr(self, name) < 0:
                raise UserError(f"data.source.{name}={getattr(self, name)}: need 0 or more")
        if not 0 <= self.max_new_words <= 1:
            raise UserError(f"data.source.max_new_words={self.max_new_words}: need 0 to 1 (1: off)")
        if not 0 <= self.half_typed <= 1:
            raise UserError(f"data.source.half_typed={self.half_typed}: need 0 to 1")
        if not 0 <= self.no_edit < 1:
            raise UserError(f"data.source.no_edit={self.no_edit}: need 0 or more and less than 1")
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
    return [*tasks, *_finished(name, steps, len(tasks), source, instruction, shape)], rejects


def _finished(
    name: str, steps: Sequence[Step], others: int, source: Source, instruction: str | None, shape: TaskShape
) -> list[EditTask]:
    """Tasks of a commit that is done: the whole of it is history, and nothing is left to predict. So many that they are
    the wanted share of all in the mean, each around another file's last edit."""
    last = {id(step.file): step for step in steps if step.file is not None and step.tells_something}
    generator = random.Random(f"{shape.seed}/{source.revision}/no edit")
    wanted = others * shape.no_edit / (1 - shape.no_edit)
    count = min(len(last), int(wanted) + (generator.random() < wanted % 1))
    tasks = []
    for step in generator.sample(list(last.values()), count):
        # its own edit was made last
        order = [one for one in steps if one is not step and one.tells_something] + [step]
        history = [one.event for one in order if len(one.event.diff) <= shape.max_event]
        task = _still(f"{name}/done/{steps.index(step)}", step, history, source, instruction, shape) if history else None
        tasks += [] if task is None else [task]
    return tasks


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
    target = [*lines[first:at], *edit.replacement, *lines[at + removed : last]]
    half = half_typed(edit, generator) if shape.half_typed and generator.random() < shape.half_typed else None
    kind = kind_of(file.path, at, history[-1])
    if half is not None:
        begun = LineChange(at, at + half.removed, (half.text,))
        typed = EditedFile(file.path, tuple(lines), join_changes(lines, [begun], 0))
        history = [*history, HistoryEvent("edit", file.path, typed.diffs(shape.history_context)[0])]
        lines = typed.state(1)
        last += 1 - half.removed
        kind = HALF_TYPED
    if half is not None:
        row, column = at, len(half.text)
    elif edit.rows[0][0] == "-":
        row, column = at, len(lines[at]) - len(lines[at].lstrip())
    else:  # at the end of the line after which lines are added
        row, column = (at - 1, len(lines[at - 1])) if at > first else (at, 0)
    shown = history[-shape.history_events :]
    labels = {"family": edit.kind, "history": "same file" if shown[-1].path == file.path else "other file", "kind": kind}
    return _shown(name, file.path, lines, (first, last), target, (row, column), shown, source, instruction, labels, shape)


def _still(
    name: str, step: Step, history: Sequence[HistoryEvent], source: Source, instruction: str | None, shape: TaskShape
) -> EditTask | None:
    """A task that wants no edit, around an edit that was made."""
    file, index = step.file, step.index
    if file is None:
        return None
    edit, lines = file.edits[index], file.state(len(file.edits))
    at = file.position(index)
    end = at + len(edit.replacement)
    generator = random.Random("\n".join((str(shape.seed), "no edit", *edit.rows)))
    first = max(0, at - generator.randint(*shape.margin))
    last = min(len(lines), end + generator.randint(*shape.margin))
    if first == last:
        return None
    row = max(first, min(end, last) - 1)
    labels = {"family": NO_EDIT, "history": "same file", "kind": NO_EDIT}
    shown = history[-shape.history_events :]
    return _shown(
        name, file.path, lines, (first, last), lines[first:last], (row, len(lines[row])), shown, source, instruction, labels, shape,
        no_edit=True,
    )  # fmt: skip


def _shown(
    name: str,
    path: str,
    lines: Sequence[str],
    rows: tuple[int, int],
    target: Sequence[str],
    cursor: tuple[int, int],
    history: Sequence[HistoryEvent],
    source: Source,
    instruction: str | None,
    labels: Mapping[str, str],
    shape: TaskShape,
    no_edit: bool = False,
) -> EditTask | None:
    """The task whose region are the rows [start, end) of a file's lines, with the lines around them. `cursor`: row, column."""
    first, last = rows
    region = lines[first:last]
    if not region or max(_size(region), _size(target)) > shape.max_region:
        return None
    above = first - _fitting(reversed(lines[max(0, first - shape.context_lines) : first]), shape.max_context)
    below = last + _fitting(lines[last : last + shape.context_lines], shape.max_context)
    before, after = _join(lines[above:first]), _join(lines[last:below])
    place = len(before) + _size(lines[first : cursor[0]]) + cursor[1]
    return EditTask(
        id=name,
        source=source,
        language=language_of(path),
        path=path,
        excerpt=before + _join(region) + after,
        editable=(len(before), len(before) + _size(region)),
        target=_join(target),
        cursor=(place, place),
        at_file_start=above == 0,
        history=tuple(history),
        instruction=instruction,
        labels=labels,
        no_edit=no_edit,
    )


def kind_of(path: str, at: int, last: HistoryEvent) -> str:
    """How far the edit at line `at` (from 0) lies from the last thing that was done."""
    if last.path != path:
        return CROSS_FILE
    header = NEW_SIDE.match(last.diff)
    if header is None:  # a rename
        return FAR
    rows = last.diff.split("\n")[1:]
    changed = [place for place, row in enumerate(row for row in rows if row[:1] != "-") if row[:1] == "+"]
    start = int(header[1]) - 1
    ends = (start + changed[0], start + changed[-1]) if changed else (start, start + len(rows))
    return NEAR if ends[0] - NEAR_ROWS <= at <= ends[1] + NEAR_ROWS else FAR


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
