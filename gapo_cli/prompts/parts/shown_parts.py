"""Parts of a prompt that several templates write alike: the history, the hints, the marked code."""

from __future__ import annotations

from collections.abc import Iterable

from gapo_cli.prompts.parts.fitting import Shown
from gapo_cli.prompts.parts.reading import fenced
from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.prompts.parts.zed_text import CURSOR, REGION_END, REGION_START, mark_cursor
from gapo_cli.records import EditTask, Hint, HistoryEvent

HINT_TITLES = {"diagnostic": "Diagnostic", "related_file": "Related file", "outline": "Outline", "note": "Note"}


def history_text(events: Iterable[HistoryEvent]) -> str:
    """The events in the order given, each with its diff in a fence; "" for none."""
    return "\n\n".join(map(_event_text, events))


def hints_text(hints: Iterable[Hint]) -> str:
    return "\n\n".join(_hint_text(hint) for hint in hints)


def marked_code(task: EditTask, lines: RegionLines, shown: Shown) -> str:
    """The shown excerpt in a fence, the region between markers on lines of their own, the cursor marked."""
    code = f"{shown.before}{REGION_START}\n{mark_cursor(task, lines, CURSOR)}{REGION_END}\n{with_line_end(shown.after)}"
    return fenced(code, fence_language(task))


def fence_language(task: EditTask) -> str:
    """What stands behind an opening fence: the language where it is known and a plain word."""
    return task.language if task.language.replace("-", "").isalnum() and task.language != "unknown" else ""


def with_line_end(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _event_text(event: HistoryEvent) -> str:
    if event.kind == "open":
        return f"Opened {event.path}"
    if event.kind == "rename":
        return f"Renamed {event.old_path} to {event.path}"
    return f"Edited {event.path}:\n{fenced(with_line_end(event.diff), 'diff')}"


def _hint_text(hint: Hint) -> str:
    title = HINT_TITLES.get(hint.kind, hint.kind.capitalize())
    return f"{title}{f' {hint.path}' if hint.path else ''}:\n{fenced(with_line_end(hint.text))}"
