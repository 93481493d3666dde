"""Sweep's first open models (sweep-next-edit 0.5B and 1.5B, on Qwen2.5-Coder), as their editors ask them.

Blocks that begin with `<|file_sep|>` and a path: context files, the last changes as old and new lines, the window as it was
before the last of them, the window as it is; the model writes the window once more. The window is the cursor's row and those
around it, and there is no cursor in it. An empty answer is "no edit", so that an answer cannot empty the window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from gapo_cli.config.checks import require
from gapo_cli.prompts.parts.changes import before_last_edit, changes_of, same_rows
from gapo_cli.prompts.parts.fill import first_that_fit, left_out, newest_that_fit
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import answer_of, check_on_missing, collisions, says_teacher_word, why_no_code
from gapo_cli.prompts.parts.zed_sections import Counter, estimated_tokens, line_ended, related_hints, without_place
from gapo_cli.records import EditTask, HistoryEvent, ParsedAnswer, Prompt

FILE = "<|file_sep|>"
END = "</s>"
MOST_CHANGE_LINES, FIRST_CHANGE_LINES, LAST_CHANGE_LINES = 40, 20, 19
"""A longer side of a change is shown as its first lines, `...` and its last lines."""


@dataclass(frozen=True)
class Sweep:
    """`above`, `below`: rows of the window around the cursor's; a region that reaches farther widens it. `changes`: the
    newest so many edits. `budget`: the most tokens of a prompt by `counter` (None: bytes / 3; null: no limit); what is cut:
    context files, then the oldest changes. `missing_tokens`: what a model without `<|file_sep|>` means, stop or text."""

    above: int = 10
    below: int = 10
    changes: int = 3
    budget: int | None = 7168
    counter: Callable[[str], int] | None = None
    missing_tokens: str = "stop"

    markers: ClassVar[tuple[str, ...]] = (FILE, END)
    stop: ClassVar[tuple[str, ...]] = (FILE, END)

    def __post_init__(self) -> None:
        for name in ("above", "below", "changes"):
            value = getattr(self, name)
            require(value >= 0, f"prompt.{name}={value}: need 0 or more")
        require(self.budget is None or self.budget >= 1, f"prompt.budget={self.budget}: need at least 1, or null for no limit")
        check_on_missing(self.missing_tokens)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return (FILE,) if self.missing_tokens == "stop" else ()

    def render(self, task: EditTask) -> Prompt:
        rows = RegionRows.of(task, self.above, self.below)
        old = same_rows(before_last_edit(task), task.excerpt.split("\n"), rows.first, rows.last)
        windows = (
            f"{block(f'original/{task.path}', chr(10).join(old))}{block(f'current/{task.path}', rows.shown)}"
            f"{FILE}updated/{task.path}\n"
        )
        count: Counter = self.counter or estimated_tokens
        left = None if self.budget is None else self.budget - count(windows)
        changes = [text for text in map(_change_text, task.history) if text]
        shown_changes = newest_that_fit(changes[max(0, len(changes) - self.changes) :], left, count)
        left = None if left is None else left - sum(map(count, shown_changes))
        files = _files(task, rows.shown)
        shown_files = first_that_fit(files, left, count)
        cut = (
            *without_place(task),
            *left_out(changes, shown_changes, "history"),
            *left_out(files, shown_files, "hints"),
            *over_budget(self.budget, windows, count),
            *collisions(all_code(task, rows.shown), self.markers),
        )
        return Prompt(task.id, "".join(shown_files) + "".join(shown_changes) + windows, cut=cut)

    def answer(self, task: EditTask, region: str) -> str:
        return RegionRows.of(task, self.above, self.below).write(region)

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        return read_window(task, text, RegionRows.of(task, self.above, self.below), self.stop)


def block(path: str, content: str) -> str:
    return f"{FILE}{path}\n{line_ended(content)}"


def all_code(task: EditTask, shown: str) -> str:
    """What a prompt may show of a task beside `shown`: a marker in any of it would begin a block or end one."""
    return "\n".join((shown, *(hint.text for hint in related_hints(task, shown)), *(event.diff for event in task.history)))


def over_budget(budget: int | None, windows: str, count: Counter) -> tuple[str, ...]:
    """What `Prompt.cut` says of windows that alone are larger than the budget."""
    excess = 0 if budget is None else count(windows) - budget
    return (f"nothing more could be cut: {excess} over the budget of {budget}",) if excess > 0 else ()


def read_window(task: EditTask, text: str, rows: RegionRows, stops: Sequence[str], echoes: Sequence[str] = ()) -> ParsedAnswer:
    """The region in an answer that is the whole window, up to the first stop text. Nothing, or a teacher's word: no edit."""
    ends = [place for place in map(text.find, stops) if place >= 0]
    body = text[: min(ends)] if ends else text
    if not body or says_teacher_word(body):
        return ParsedAnswer(task.region)
    why = why_no_code(body, echoes, rows.shown)
    return ParsedAnswer(None, why) if why else answer_of(rows.read(body))


def _files(task: EditTask, shown: str) -> list[str]:
    """A block for each related file, in the order of its most important excerpt."""
    texts: dict[str | None, list[str]] = {}
    for hint in sorted(related_hints(task, shown), key=lambda hint: hint.order):
        texts.setdefault(hint.path, []).append(hint.text)
    return [block(str(path), "\n".join(excerpts)) for path, excerpts in texts.items()]


def _change_text(event: HistoryEvent) -> str:
    """ "" for an event that changes nothing."""
    if event.kind == "rename":
        return block(f"{event.path}.diff", f"original:\npath: {event.old_path}\nupdated:\npath: {event.path}")
    changes = changes_of(event)
    if not changes:
        return ""
    old = [line for change in changes for line in change.old()]
    new = [line for change in changes for line in change.new()]
    return block(f"{event.path}.diff", f"original:\n{_side(old)}updated:\n{_side(new)}")


def _side(lines: Sequence[str]) -> str:
    if len(lines) > MOST_CHANGE_LINES:
        lines = [*lines[:FIRST_CHANGE_LINES], "...", *lines[-LAST_CHANGE_LINES:]]
    return "".join(f"{line}\n" for line in lines)
