"""Sweep's second layout (sweep-next-edit-v2-7B, and Sweep's own local server).

The file as it was before the recent changes, these changes hunk by hunk, and a small block around the cursor twice: as it was
and as it is. Departures: the block is never cut by tokens; "the file" is the task's excerpt; nothing is written for the model
to begin with (Sweep does that where it wants changes above the cursor). The numbers in the block's header are not line
numbers: cursor row in the block + 1, and that row + rows of the block + 1, as Sweep's server computes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from gapo_cli.config.checks import require
from gapo_cli.prompts.parts.changes import Change, before_history, changes_of
from gapo_cli.prompts.parts.fill import first_that_fit, left_out
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import check_on_missing, collisions
from gapo_cli.prompts.parts.zed_sections import related_hints, without_place
from gapo_cli.prompts.sweep import FILE, all_code, read_window
from gapo_cli.records import EditTask, ParsedAnswer, Prompt

CURSOR = "<|cursor|>"
END = "<|endoftext|>"
ABOVE, BELOW = 2, 5
"""Rows of the block around the cursor's."""
WHOLE_FILE_ROWS, SLICE_ROWS, SLICE_STEP = 800, 300, 150
"""A longer file is shown as the slice, from multiples of the step, whose middle is nearest to the cursor."""
CHANGE_CONTEXT = 1
CHARACTERS_A_TOKEN = 3.5


def estimated_tokens(text: str) -> int:
    """Sweep's estimate."""
    return int(len(text) / CHARACTERS_A_TOKEN)


@dataclass(frozen=True)
class SweepV2:
    """`hunks`: the newest so many are shown. `related_tokens`: of related files, by `counter` (None: Sweep's estimate, a
    token is 3.5 characters). `missing_tokens`: what a model without `<|file_sep|>` means, stop or text."""

    hunks: int = 6
    related_tokens: int = 2048
    counter: Callable[[str], int] | None = None
    missing_tokens: str = "stop"

    markers: ClassVar[tuple[str, ...]] = (FILE, END, CURSOR)
    stop: ClassVar[tuple[str, ...]] = (END, FILE)

    def __post_init__(self) -> None:
        require(self.hunks >= 0, f"prompt.hunks={self.hunks}: need 0 or more")
        require(self.related_tokens >= 0, f"prompt.related_tokens={self.related_tokens}: need 0 or more")
        check_on_missing(self.missing_tokens)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return (FILE,) if self.missing_tokens == "stop" else ()

    def render(self, task: EditTask) -> Prompt:
        rows = _block_rows(task)
        changes = [change for event in task.history for change in changes_of(event) if not change.is_blank]
        shown_changes = changes[max(0, len(changes) - self.hunks) :]
        now = rows.marked(task, CURSOR).split("\n")
        in_block = rows.cursor_row - rows.first
        place = f"{task.path}:{in_block + 1}:{in_block + len(now) + 1}"
        before = _undone(rows.shown, shown_changes)
        related = sorted(related_hints(task, rows.shown), key=lambda hint: hint.order)
        files = [f"\n{FILE}{hint.path}\n{hint.text}\n" for hint in related]
        shown_files = first_that_fit(files, self.related_tokens, self.counter or estimated_tokens)
        recent = "\n".join(map(_change_text, shown_changes))
        file = _initial_file(task, rows.cursor_row)
        text = (
            f"{FILE}{task.path}\n{file}{''.join(shown_files)}\n{recent}\n"
            f"{FILE}original/{place}\n{before}\n{FILE}current/{place}\n{chr(10).join(now)}\n{FILE}updated/{place}\n"
        )
        cut = (
            *without_place(task),
            *left_out(changes, shown_changes, "history"),
            *left_out(files, shown_files, "hints"),
            *collisions(f"{all_code(task, rows.shown)}\n{file}", self.markers),
        )
        return Prompt(task.id, text, cut=cut)

    def answer(self, task: EditTask, region: str) -> str:
        return _block_rows(task).write(region)

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        return read_window(task, text, _block_rows(task), self.stop, (CURSOR,))


def _block_rows(task: EditTask) -> RegionRows:
    return RegionRows.of(task, ABOVE, BELOW).without_blank_ends()


def _initial_file(task: EditTask, cursor_row: int) -> str:
    rows = before_history(task)
    if len(rows) <= WHOLE_FILE_ROWS:
        return "\n".join(rows)
    starts = range(0, len(rows) - SLICE_ROWS + SLICE_STEP, SLICE_STEP)
    start = min(starts, key=lambda first: abs(first + SLICE_ROWS // 2 - cursor_row))
    return "\n".join(rows[start : start + SLICE_ROWS])


def _change_text(change: Change) -> str:
    old, new = ("\n".join(side).strip("\n") for side in (change.old(CHANGE_CONTEXT), change.new(CHANGE_CONTEXT)))
    end = change.new_start + len(change.new()) - 1
    return f"{FILE}{change.path}:{change.new_start}:{end}\noriginal:\n{old}\nupdated:\n{new}"


def _undone(text: str, changes: list[Change]) -> str:
    """The block before the changes, taken back from the newest on until one is not found in it."""
    for change in reversed(changes):
        for context_lines in (CHANGE_CONTEXT, 0):
            old, new = ("\n".join(side) for side in (change.old(context_lines), change.new(context_lines)))
            if new.strip() and new in text:
                text = text.replace(new, old, 1)
                break
        else:
            return text
    return text
