"""What of a task a prompt shows: all of it, or what a budget leaves.

Kept in this order: the region with its cursor and the fixed words, the newest events, the lines around the region
(nearest first, above and below in turn), the hints. The largest prompt of that order that fits is found by rendering
and counting, so nothing is estimated. What is left out is recorded in `Prompt.cut`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

from gapo_cli.errors import UserError
from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.records import EditTask, Hint, HistoryEvent, Prompt

HISTORY_ORDERS = ("oldest", "newest")


@dataclass(frozen=True, slots=True)
class Shown:
    """`history` is the newest events, oldest first; `before` and `after` are the whole lines next to the region's."""

    history: tuple[HistoryEvent, ...]
    before: str
    after: str
    hints: tuple[Hint, ...]


@dataclass(frozen=True)
class FittedTemplate:
    """What the templates that show an excerpt and a history have in common; a subclass has `compose`, `answer`, `parse`.

    `chat`: messages for a chat model instead of one text. `history_events`: the newest so many are shown (None: all).
    `history_order`: which event comes first, the oldest or the newest. `budget`: the most that a prompt may measure by
    `counter` (None: no limit); of a chat prompt its messages are counted, not what the model's chat template puts around
    them. `counter` None: characters.
    """

    chat: bool = False
    history_events: int | None = None
    history_order: str = "oldest"
    budget: int | None = None
    counter: Callable[[str], int] | None = len

    def __post_init__(self) -> None:
        if self.counter is None:
            object.__setattr__(self, "counter", len)
        if self.history_events is not None and not _is_count(self.history_events, 0):
            raise UserError(f"prompt.history_events={self.history_events}: need 0 or more, or null for all")
        if self.history_order not in HISTORY_ORDERS:
            raise UserError(
                f"prompt.history_order={self.history_order}: need one of {', '.join(HISTORY_ORDERS)} (which comes first)"
            )
        if self.budget is not None and not _is_count(self.budget, 1):
            raise UserError(f"prompt.budget={self.budget}: need at least 1, or null for no limit")
        if not callable(self.counter):
            raise UserError(f"prompt.counter={self.counter}: need a function of a text that gives its length")

    @abstractmethod
    def compose(self, task: EditTask, lines: RegionLines, shown: Shown) -> Prompt:
        """The prompt that shows this much of the task."""

    def render(self, task: EditTask) -> Prompt:
        lines = RegionLines.of(task)
        views = Views(task, lines, self.history_events)
        level = views.count - 1
        prompt = self.compose(task, lines, views.at(level))
        notes: tuple[str, ...] = ()
        if self.budget is not None and self._size(prompt) > self.budget:
            # the first level that does not fit lies in (low, level]; -1: nothing has fitted yet
            low = -1
            while level - low > 1:
                middle = (low + level) // 2
                if self._size(self.compose(task, lines, views.at(middle))) <= self.budget:
                    low = middle
                else:
                    level = middle
            level = max(low, 0)
            prompt = self.compose(task, lines, views.at(level))
            excess = self._size(prompt) - self.budget
            notes = (f"nothing more could be cut: {excess} over the budget of {self.budget}",) if excess > 0 else ()
        return replace(prompt, cut=(*prompt.cut, *views.cut(level), *notes))

    def in_order(self, shown: Shown) -> tuple[HistoryEvent, ...]:
        """The shown events in the order that the prompt gives them."""
        return shown.history if self.history_order == "oldest" else shown.history[::-1]

    def _size(self, prompt: Prompt) -> int:
        return sum(self.counter(message.content) for message in prompt.messages) + self.counter(prompt.text)


class Views:
    """Everything that can be shown of a task, in `count` levels: level 0 is the region alone, each next one adds an event,
    a line or a hint."""

    def __init__(self, task: EditTask, lines: RegionLines, history_events: int | None) -> None:
        self.task = task
        self.before = _whole_lines(lines.before)
        self.after = _whole_lines(lines.after)
        self.events = len(task.history) if history_events is None else min(len(task.history), history_events)
        self.count = 1 + self.events + len(self.before) + len(self.after) + len(task.hints)

    def at(self, level: int) -> Shown:
        events, above, below, hints = self._shares(level)
        return Shown(
            history=self.task.history[len(self.task.history) - events :],
            before="".join(self.before[len(self.before) - above :]),
            after="".join(self.after[:below]),
            hints=self.task.hints[:hints],
        )

    def cut(self, level: int) -> tuple[str, ...]:
        """What level `level` leaves out, in words."""
        events, above, below, hints = self._shares(level)
        left_out = (
            ("history", len(self.task.history) - events, "oldest events"),
            ("excerpt", len(self.before) - above, "first lines"),
            ("excerpt", len(self.after) - below, "last lines"),
            ("hints", len(self.task.hints) - hints, "last hints"),
        )
        return tuple(f"{what}: {number} {which}" for what, number, which in left_out if number)

    def _shares(self, level: int) -> tuple[int, int, int, int]:
        """(events, lines above, lines below, hints) of a level."""
        events = min(level, self.events)
        around = min(level - events, len(self.before) + len(self.after))
        hints = level - events - around
        above = min((around + 1) // 2, len(self.before))
        below = min(around - above, len(self.after))
        return events, around - below, below, hints


def _whole_lines(text: str) -> list[str]:
    """Lines with their line breaks. Only "\\n" ends a line here, as in diffs; str.splitlines would cut at more."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
