"""Sections of GitHub Copilot's prompts for next edits: tags on lines of their own, the file clipped by pages, the history as
changed lines without context. Sizes are Copilot's own estimate: characters / 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gapo_cli.prompts.parts.changes import Change, changes_of
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.records import EditTask, HistoryEvent

CHARACTERS_A_TOKEN = 4
PAGE_ROWS = 10
"""What the shown part of a file grows by."""
AREA, REGION, FILE, SNIPPETS, SNIPPET, HISTORY = (
    "area_around_code_to_edit", "code_to_edit", "current_file_content", "recently_viewed_code_snippets",
    "recently_viewed_code_snippet", "edit_diff_history",
)  # fmt: skip
CURSOR = "<|cursor|>"
MARKERS = (*(f"<|{slash}{name}|>" for name in (AREA, REGION, FILE, SNIPPETS, SNIPPET, HISTORY) for slash in ("", "/")), CURSOR)


def estimated_tokens(text: str) -> int:
    return len(text) // CHARACTERS_A_TOKEN


def section(name: str, text: str) -> str:
    """The text between its tags, each on a line of its own."""
    return f"<|{name}|>\n{text}\n<|/{name}|>"


@dataclass(frozen=True, slots=True)
class Area:
    """Rows first..last of the excerpt around the window, and their text with the window tagged and the cursor marked."""

    first: int
    last: int
    text: str

    @classmethod
    def of(cls, task: EditTask, window: RegionRows, reach: int) -> Area:
        rows = task.excerpt.split("\n")
        first = min(window.first, max(0, window.cursor_row - reach))
        last = max(window.last, min(len(rows) - 1, window.cursor_row + reach))
        text = [
            *rows[first : window.first],
            section(REGION, window.marked(task, CURSOR)),
            *rows[window.last + 1 : last + 1],
        ]
        return cls(first, last, section(AREA, "\n".join(text)))


def clipped_file(task: EditTask, area: Area, tokens: int, tagged: bool, numbered: bool) -> tuple[str, tuple[str, ...]]:
    """The excerpt, as much of it as `tokens` allow, grown page by page around the area: half of what is left goes above it,
    the rest below. `tagged`: the area stands in it with its tags; `numbered`: rows begin with their number, from 0. And what
    is left out, in words."""
    rows = task.excerpt.split("\n")
    shown = [f"{number}| {row}" if numbered else row for number, row in enumerate(rows)]
    middle = area.text if tagged else "\n".join(shown[area.first : area.last + 1])
    left = max(0, tokens - estimated_tokens(middle))
    first, spent = _grown(shown, area.first, -1, left // 2)
    end, _ = _grown(shown, area.last + 1, 1, left - spent)
    text = "\n".join([*shown[first : area.first], middle, *shown[area.last + 1 : end]])
    numbers = ((first, "first lines"), (len(rows) - end - (end < len(rows) and rows[-1] == ""), "last lines"))
    return text, tuple(f"excerpt: {number} {which}" for number, which in numbers if number)


def _grown(rows: Sequence[str], edge: int, step: int, tokens: int) -> tuple[int, int]:
    """Where the shown rows end that begin at `edge` and go up (-1) or down (1), and what they cost."""
    spent = 0
    while 0 < edge if step < 0 else edge < len(rows):
        following = max(0, edge - PAGE_ROWS) if step < 0 else min(len(rows), edge + PAGE_ROWS)
        page = rows[min(edge, following) : max(edge, following)]
        cost = sum(estimated_tokens(f"{row}\n") for row in page)
        if spent + cost > tokens:
            break
        edge, spent = following, spent + cost
    return edge, spent


def entry_text(event: HistoryEvent) -> str:
    """An edit's changed lines; "" where none but blank ones change."""
    changes = [change for change in changes_of(event) if not change.is_blank]
    if not changes:
        return ""
    hunks = [hunk for change in changes for hunk in _runs(change)]
    return f"--- {event.old_path or event.path}\n+++ {event.path}\n" + "\n".join(hunks)


def _runs(change: Change) -> list[str]:
    """Each run of changed lines of a hunk, under a header whose line number is from 0 and the same on both sides."""
    found: list[list[str]] = []
    starts: list[int] = []
    line, in_run = max(0, change.old_start - 1), False
    for sign, text in change.lines:
        if sign == " ":
            in_run = False
        else:
            if not in_run:
                found.append([])
                starts.append(line)
            found[-1].append(sign + text)
            in_run = True
        line += sign != "+"
    return [
        f"@@ -{start},{sum(one[0] == '-' for one in run)} +{start},{sum(one[0] == '+' for one in run)} @@\n" + "\n".join(run)
        for start, run in zip(starts, found, strict=True)
        if any(one[1:].strip() for one in run)
    ]
