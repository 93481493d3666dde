"""Continue's Instinct as it was trained: a chat prompt with sections for context, user edits and the marked user excerpt.

The answer is the region's rows joined by line breaks and nothing else; it cannot say that no row, or one blank row, is left:
an empty answer is malformed. The published model's system and preface texts are its makers' (continuedev/instinct,
utils/datautils.py): give them as `system` and `preface` to ask that model; the words here are this project's. Departure: a
diff is shown with the context lines that it has, not with five.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gapo_cli.config.checks import require
from gapo_cli.prompts.parts.fill import first_that_fit, left_out
from gapo_cli.prompts.parts.reading import EMPTY_ANSWER
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import answer_of, collisions, says_teacher_word, why_no_code
from gapo_cli.prompts.parts.zed_sections import estimated_tokens, related_hints, without_place
from gapo_cli.prompts.parts.zed_text import CURSOR, FENCE, REGION_END, REGION_START
from gapo_cli.records import EditTask, HistoryEvent, Message, ParsedAnswer, Prompt

SYSTEM = (
    "You predict a developer's next edit inside a code editor. You see what was edited lately, code that may help, and an "
    f"excerpt in which {REGION_START} and {REGION_END} enclose the code that may change. Answer with the new code of that "
    "region alone, without the tags; leave it as it is where nothing should change, and never undo the last edit."
)
PREFACE = (
    "From the user's edits and the snippets find out what the user is about to do, and rewrite the editable region of the "
    "user excerpt accordingly."
)
CONTEXT_FILE, SNIPPET = "<|context_file|>", "<|snippet|>"
MARKERS = (REGION_START, REGION_END, CURSOR, CONTEXT_FILE, SNIPPET)


@dataclass(frozen=True)
class Instinct:
    """`system`, `preface`: the fixed texts. `excerpt_rows`: shown above and below the cursor's row; `region_rows`: that may be
    rewritten (a task's own region is always in). `history_events`: the newest so many (None: all). `related_tokens`: of
    related files, by `counter` (None: an estimate, a token is three bytes); null: all."""

    system: str = SYSTEM
    preface: str = PREFACE
    excerpt_rows: int = 25
    region_rows: int = 5
    history_events: int | None = None
    related_tokens: int | None = None
    counter: Callable[[str], int] | None = None

    def __post_init__(self) -> None:
        for name in ("excerpt_rows", "region_rows"):
            require(getattr(self, name) >= 0, f"prompt.{name}={getattr(self, name)}: need 0 or more")
        for name in ("history_events", "related_tokens"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"prompt.{name}={value}: need 0 or more, or null for all")

    def render(self, task: EditTask) -> Prompt:
        rows = self._rows(task)
        around = RegionRows.of(task, max(self.excerpt_rows, self.region_rows), max(self.excerpt_rows, self.region_rows))
        before = rows.before[len(around.before) :]
        after = rows.after[: len(rows.after) - len(around.after)]
        excerpt = f"{before}{REGION_START}\n{rows.marked(task, CURSOR)}\n{REGION_END}{after}"
        related = sorted(related_hints(task, before + rows.shown + after), key=lambda hint: hint.order)
        snippets = [f"{CONTEXT_FILE} {hint.path}\n{SNIPPET}\n{hint.text}\n\n" for hint in related]
        shown = first_that_fit(snippets, self.related_tokens, self.counter or estimated_tokens)
        edits = [text for text in map(_edit_text, task.history) if text]
        most = len(edits) if self.history_events is None else self.history_events
        newest = edits[max(0, len(edits) - most) :]
        text = (
            f"{self.preface}\n\n### Context:\n\n{''.join(shown)}\n\n\n### User Edits:\n\n{''.join(reversed(newest))}"
            f'### User Excerpt:\n"{task.path}"\n\n{excerpt}'
        )
        cut = (
            *without_place(task),
            *left_out(edits, newest, "history"),
            *left_out(snippets, shown, "hints"),
            *collisions(before + rows.shown + after, MARKERS),
        )
        return Prompt(task.id, "", (Message("system", self.system), Message("user", text)), cut)

    def answer(self, task: EditTask, region: str) -> str:
        return "\n".join(self._rows(task).write_rows(region))

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        if says_teacher_word(text):
            return ParsedAnswer(task.region)
        if not text:
            return ParsedAnswer(None, EMPTY_ANSWER)
        rows = self._rows(task)
        why = why_no_code(text, MARKERS, rows.shown)
        return ParsedAnswer(None, why) if why else answer_of(rows.read_rows(text.split("\n")))

    def _rows(self, task: EditTask) -> RegionRows:
        return RegionRows.of(task, self.region_rows, self.region_rows)


def _edit_text(event: HistoryEvent) -> str:
    """ "" for an event without a diff."""
    if event.kind != "edit" or not event.diff:
        return ""
    diff = event.diff.removesuffix("\n")
    for marker in MARKERS:
        diff = diff.replace(marker, "")
    return f'User edited file "{event.path}"\n\n{FENCE}diff\n{diff}\n{FENCE}\n\n'
