"""Zed's text form of an edit: the developer's events, and a fenced excerpt with markers (the zeta data set's fields).

What is written is today's form. Where a task of the zeta data set was written otherwise, `task.raw["zeta"]` holds the
difference (gapo_cli/tasks/zeta.py), and the original text comes out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.records import EditTask, HistoryEvent

REGION_START = "<|editable_region_start|>"
REGION_END = "<|editable_region_end|>"
CURSOR = "<|user_cursor_is_here|>"
START_OF_FILE = "<|start_of_file|>"
FENCE = "```"
BETWEEN_EVENTS = "\n\n"


def event_fields(event: HistoryEvent) -> tuple[str, ...]:
    """What an event's text says, in the order in which it says it; `event_words` is the text around that."""
    if event.kind == "rename":
        return (event.old_path or "", event.path)
    return (event.path,) if event.kind == "open" else (event.path, event.diff)


def event_words(event: HistoryEvent, first: bool) -> tuple[str, ...]:
    """One text before each of `event_fields` and one after the last; all but the first event begin with a blank line."""
    if event.kind == "edit":
        line_break = "" if not event.diff or event.diff.endswith("\n") else "\n"
        words = ('User edited "', f'":\n{FENCE}diff\n', line_break + FENCE)
    elif event.kind == "open":
        words = ('User opened file: "', '"')
    else:
        words = ('User renamed "', '" to "', '"')
    return words if first else (BETWEEN_EVENTS + words[0], *words[1:])


def event_texts(task: EditTask) -> list[str]:
    """The text of each event, oldest first; joined they are the data set's `events`."""
    written = zeta_raw(task).get("events")
    if not isinstance(written, list) or len(written) != len(task.history):
        written = [event_words(event, index == 0) for index, event in enumerate(task.history)]
    return [_interleave(words, event_fields(event)) for words, event in zip(written, task.history, strict=True)]


def render_events(task: EditTask) -> str:
    """The data set's `events`."""
    written = zeta_raw(task).get("events")
    return written if isinstance(written, str) else "".join(event_texts(task))


def render_input(task: EditTask, before: str | None = None, after: str | None = None) -> str:
    """The data set's `input`: the excerpt in a fence, with the cursor and the region's markers. `before` and `after`
    instead of the task's own: what is shown of the lines around the region."""
    lines = RegionLines.of(task)
    return render_excerpt(task, mark_cursor(task, lines), lines.before if before is None else before,
                          lines.after if after is None else after)  # fmt: skip


def render_output(task: EditTask) -> str:
    """The data set's `output`: the whole excerpt after the edit."""
    lines = RegionLines.of(task)
    return render_excerpt(task, lines.write(task.target), lines.before, lines.after)


def render_excerpt(task: EditTask, region_lines: str, before: str, after: str) -> str:
    raw = zeta_raw(task)
    whole_start = task.at_file_start and len(before) == len(RegionLines.of(task).before)
    start_of_file = f"{START_OF_FILE}\n" if whole_start else ""
    opening = raw.get("opening", f"{FENCE}{task.path}\n")
    closing = raw.get("closing", FENCE)
    if closing and after and not after.endswith("\n"):
        closing = "\n" + closing
    return f"{opening}{start_of_file}{before}{REGION_START}\n{region_lines}{REGION_END}\n{after}{closing}"


def mark_cursor(task: EditTask, lines: RegionLines, cursor: str = CURSOR) -> str:
    """The region's whole lines, `cursor` put in where the task's stands in them."""
    text = lines.write(lines.region)
    if task.cursor is None:
        return text
    offset = task.cursor[0] - len(lines.before)
    return text[:offset] + cursor + text[offset:] if 0 <= offset <= len(text) - len(lines.closing) else text


def zeta_raw(task: EditTask) -> Mapping[str, Any]:
    raw = (task.raw or {}).get("zeta")
    return raw if isinstance(raw, Mapping) else {}


def _interleave(words: Sequence[str], fields: Sequence[str]) -> str:
    return words[0] + "".join(field + word for field, word in zip(fields, words[1:], strict=True))
