"""Inception's Mercury as Zed asks it: one user message of tagged sections; the answer is the region, or `None`.

Every closing tag is preceded by a line break of its own, so a blank line stands before most of them. The answer has no line
break at its end; a fence around it is taken off. An empty answer is malformed: that all rows go is said by an empty fence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from gapo_cli.config.checks import require
from gapo_cli.prompts.parts.fill import first_that_fit, left_out
from gapo_cli.prompts.parts.reading import EMPTY_ANSWER, UNCLOSED_FENCE
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import answer_of, collisions, says_teacher_word, why_no_code
from gapo_cli.prompts.parts.zed_sections import context, estimated_tokens, event_text, related_hints, without_place
from gapo_cli.prompts.parts.zed_text import FENCE
from gapo_cli.records import EditTask, Message, ParsedAnswer, Prompt

NO_EDIT = "None"
CURSOR = "<|cursor|>"
SNIPPETS, SNIPPET, FILE, REGION, HISTORY = (
    "recently_viewed_code_snippets", "recently_viewed_code_snippet", "current_file_content", "code_to_edit", "edit_diff_history",
)  # fmt: skip
MARKERS = (*(f"<|{slash}{name}|>" for name in (SNIPPETS, SNIPPET, FILE, REGION, HISTORY) for slash in ("", "/")), CURSOR)
OPENING = re.compile(r"```[\w+#.-]{0,40}\n")
CLOSING = f"\n{FENCE}"


@dataclass(frozen=True)
class Mercury:
    """`history_events`: the newest so many. `context_tokens`, `related_tokens`: of the lines around the region, and of related
    files, by `counter` (None: Zed's estimate, a token is three bytes); null: all."""

    history_events: int = 6
    context_tokens: int | None = None
    related_tokens: int | None = None
    counter: Callable[[str], int] | None = None

    def __post_init__(self) -> None:
        require(self.history_events >= 0, f"prompt.history_events={self.history_events}: need 0 or more")
        for name in ("context_tokens", "related_tokens"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"prompt.{name}={value}: need 0 or more, or null for all")

    def render(self, task: EditTask) -> Prompt:
        count = self.counter or estimated_tokens
        rows = RegionRows.of(task)
        before, after, cut = context(rows, self.context_tokens, count)
        related = sorted(related_hints(task, before + rows.shown + after), key=lambda hint: hint.order)
        snippets = [_tagged(SNIPPET, f"code_snippet_file_path: {hint.path}\n{hint.text}") for hint in related]
        shown = first_that_fit(snippets, self.related_tokens, count)
        events = [text for text in map(event_text, task.history) if text]
        newest = events[max(0, len(events) - self.history_events) :]
        region = f"<|{REGION}|>\n{rows.marked(task, CURSOR)}\n<|/{REGION}|>\n"
        text = (
            _tagged(SNIPPETS, "".join(shown))
            + _tagged(FILE, f"current_file_path: {task.path}\n{before}{region}{after}")
            + _tagged(HISTORY, "".join(newest))
        )
        cut = (*without_place(task), *cut, *left_out(events, newest, "history"), *left_out(snippets, shown, "hints"))
        cut += collisions(before + rows.shown + after, MARKERS)
        return Prompt(task.id, "", (Message("user", text),), cut)

    def answer(self, task: EditTask, region: str) -> str:
        if region == task.region:
            return NO_EDIT
        rows = RegionRows.of(task)
        text = rows.write(region)
        if text.strip("\n") and rows.read(text.removesuffix("\n")) == region:
            text = text.removesuffix("\n")
        taken_apart = text.strip() in ("", NO_EDIT) or text.startswith(FENCE) or text.rstrip("\n").endswith(CLOSING)
        return f"{FENCE}\n{text}{CLOSING}" if taken_apart else text

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        if text.strip() == NO_EDIT or says_teacher_word(text):
            return ParsedAnswer(task.region)
        if not text.strip():
            return ParsedAnswer(None, EMPTY_ANSWER)
        opening = OPENING.match(text)
        body = text[opening.end() :] if opening else text
        ending = body.removesuffix("\n") if body.endswith(f"{CLOSING}\n") else body
        if opening and not ending.endswith(CLOSING) and ending != FENCE:
            return ParsedAnswer(None, UNCLOSED_FENCE)
        body = "" if opening and ending == FENCE else ending.removesuffix(CLOSING)
        rows = RegionRows.of(task)
        why = why_no_code(body, MARKERS, rows.shown)
        return ParsedAnswer(None, why) if why else answer_of(rows.read(body))


def _tagged(name: str, text: str) -> str:
    return f"<|{name}|>\n{text}\n<|/{name}|>\n"
