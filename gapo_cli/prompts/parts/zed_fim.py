"""The fill-in-the-middle prompts of Zed's models since February 2026: what they share, in which order, within which budget."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from gapo_cli.config.checks import require
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import check_on_missing, collisions
from gapo_cli.prompts.parts.zed_sections import (
    context,
    estimated_tokens,
    history_section,
    line_ended,
    related_hints,
    related_section,
    without_place,
)
from gapo_cli.records import EditTask, Prompt

CURSOR = "<|user_cursor|>"
ASSEMBLED_TENTHS = 9
"""Tenths of the budget that sections are put together within; a prompt that is longer than all of it is not sent."""


@dataclass(frozen=True)
class ZedFim:
    """`budget`: the most tokens of a prompt by `counter` (None: Zed's estimate, a token is three bytes); what is cut: related
    files, then the oldest events. `context_tokens`: of the lines around the region (None: all that the task has).
    `history_events`: the newest so many are candidates. `missing_tokens`: what a model without the format's tokens means,
    stop or text (they are written as plain text).

    A subclass has `cursor_section`, `assembled`, `answer` and `parse`, and names its tokens and markers.
    """

    budget: int = 4096
    context_tokens: int | None = 150
    history_events: int = 6
    counter: Callable[[str], int] | None = None
    missing_tokens: str = "stop"

    file_marker: ClassVar[str]
    tokens: ClassVar[tuple[str, ...]]
    """That must be single tokens of the model."""
    markers: ClassVar[tuple[str, ...]]
    """That code must not have."""
    stop: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        require(self.budget >= 1, f"prompt.budget={self.budget}: need at least 1")
        require(
            self.context_tokens is None or self.context_tokens >= 0,
            f"prompt.context_tokens={self.context_tokens}: need 0 or more, or null for all",
        )
        require(self.history_events >= 0, f"prompt.history_events={self.history_events}: need 0 or more")
        check_on_missing(self.missing_tokens)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return self.tokens if self.missing_tokens == "stop" else ()

    @abstractmethod
    def cursor_section(self, task: EditTask, rows: RegionRows, before: str) -> str:
        """The task's file up to the end of the region."""

    @abstractmethod
    def assembled(self, context_sections: str, cursor_section: str, after: str) -> str:
        """The prompt; `after` ends in a line break."""

    def render(self, task: EditTask) -> Prompt:
        count = self.counter or estimated_tokens
        rows = RegionRows.of(task)
        before, after, cut = context(rows, self.context_tokens, count)
        after = line_ended(after)
        cursor_section = self.cursor_section(task, rows, before)
        left = self.budget * ASSEMBLED_TENTHS // 10 - count(self.assembled("", "", after)) - count(cursor_section)
        history = history_section(task.history, self.file_marker, self.history_events, left, count)
        left -= count(history.text)
        related = related_section(related_hints(task, before + rows.shown + after), self.file_marker, left, count)
        sections = "".join(f"{section.text}\n" for section in (related, history) if section.text)
        text = self.assembled(sections, cursor_section, after)
        excess = count(text) - self.budget
        notes = (f"{excess} tokens over the format's {self.budget}, with which editors do not ask",) if excess > 0 else ()
        cut = (*without_place(task), *cut, *history.left_out, *related.left_out)
        return Prompt(task.id, text, cut=(*cut, *notes, *collisions(before + rows.shown + after, self.markers)))
