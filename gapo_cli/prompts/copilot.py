"""GitHub Copilot's next edit suggestions ("xtab"): tagged sections in one user message, answered by the edit window in a
fence, or by patches.

The window is two rows above to five below the cursor's (a region that reaches farther widens it), shown inside an area of 15
rows around it. Copilot's instructions come from its server's settings; the words here are this project's, and `system` and
`instruction` may be given. `answer_as` patches: the prompt has no fence around it, and rows are counted from the start of the
task's excerpt, which is the start of the file where the task has all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.config.checks import one_of, require
from gapo_cli.prompts.parts.copilot_sections import (
    FILE,
    HISTORY,
    MARKERS,
    REGION,
    SNIPPET,
    SNIPPETS,
    Area,
    clipped_file,
    entry_text,
    estimated_tokens,
    section,
)
from gapo_cli.prompts.parts.fill import first_that_fit, left_out, newest_that_fit
from gapo_cli.prompts.parts.line_patches import BROKEN_PATCH, NO_PATCH, NOT_APPLICABLE, patched, patches_between, read_patches
from gapo_cli.prompts.parts.reading import EMPTY_ANSWER, TEXT_OUTSIDE_REGION, UNCLOSED_FENCE
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import answer_of, collisions, says_teacher_word, why_no_code
from gapo_cli.prompts.parts.zed_sections import related_hints, without_place
from gapo_cli.prompts.parts.zed_text import FENCE
from gapo_cli.records import EditTask, Message, ParsedAnswer, Prompt

NO_EDIT = "<NO_EDIT>"
ANSWERS = ("window", "patch")
SYSTEM = "You predict the next edit of a developer from recent edits, recently viewed code and the code around the cursor."
INSTRUCTIONS = {
    "window": (
        f"Write the code between <|{REGION}|> and <|/{REGION}|> as the developer would have it next, in a code block, without "
        "the tags and the cursor. Repeat it as it is where nothing should change."
    ),
    "patch": (
        "Write the developer's next edit as patches: a line PATH:LINE (lines are counted from 0), the lines that go, each "
        f"behind a -, the lines that come, each behind a +. Where nothing should change write {NO_EDIT}."
    ),
}


@dataclass(frozen=True)
class Copilot:
    """`answer_as`: window or patch. `above`, `below`: rows of the window around the cursor's; `area`: rows shown around it.
    `file_tokens`, `snippet_tokens`, `history_tokens`: by Copilot's estimate, a token is four characters; `snippets`,
    `history_events`: at most so many. `area_in_file`: the file's section has the area with its tags too. `line_numbers`: the
    file's rows begin with their number. `system`, `instruction`: the fixed texts (None: this project's)."""

    answer_as: str = "window"
    above: int = 2
    below: int = 5
    area: int = 15
    file_tokens: int = 2000
    snippets: int = 5
    snippet_tokens: int = 2000
    history_events: int = 25
    history_tokens: int = 1000
    area_in_file: bool = True
    line_numbers: bool = False
    system: str | None = None
    instruction: str | None = None

    def __post_init__(self) -> None:
        one_of("prompt.answer_as", self.answer_as, ANSWERS)
        for name in (
            "above", "below", "area", "file_tokens", "snippets", "snippet_tokens", "history_events", "history_tokens",
        ):  # fmt: skip
            require(getattr(self, name) >= 0, f"prompt.{name}={getattr(self, name)}: need 0 or more")

    def render(self, task: EditTask) -> Prompt:
        rows = self._rows(task)
        area = Area.of(task, rows, self.area)
        file, cut = clipped_file(task, area, self.file_tokens, self.area_in_file, self.line_numbers)
        related = sorted(related_hints(task, file), key=lambda hint: hint.order)[: self.snippets]
        snippets = [
            section(SNIPPET, f"code_snippet_file_path: {hint.path}\n{hint.text.removesuffix(chr(10))}") for hint in related
        ]
        shown = first_that_fit(snippets, self.snippet_tokens, estimated_tokens)
        events = [text for text in map(entry_text, task.history) if text]
        newest = newest_that_fit(events[max(0, len(events) - self.history_events) :], self.history_tokens, estimated_tokens)
        history = "\n\n".join(newest) + "\n" if newest else ""
        text = "\n".join(
            (
                section(SNIPPETS, "\n".join(shown)) + "\n",
                section(FILE, f"current_file_path: {task.path}\n{file}") + "\n",
                section(HISTORY, history) + "\n",
                area.text,
            )
        )
        if self.answer_as == "window":
            text = f"{FENCE}\n{text}\n{FENCE}"
        request = f"{text}\n\n{self.instruction or INSTRUCTIONS[self.answer_as]}".strip()
        cut = (*without_place(task), *cut, *left_out(events, newest, "history"), *left_out(snippets, shown, "hints"))
        cut += collisions(file, MARKERS) if not self.area_in_file else collisions(task.excerpt, MARKERS)
        return Prompt(task.id, "", (Message("system", self.system or SYSTEM), Message("user", request)), cut)

    def answer(self, task: EditTask, region: str) -> str:
        rows = self._rows(task)
        new = rows.write_rows(region)
        if self.answer_as == "window":
            return "\n".join((FENCE, *new, FENCE))
        patches = patches_between(task.path, rows.first, rows.shown.split("\n"), new)
        return "\n".join(map(str, patches)) or NO_EDIT

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        if says_teacher_word(text):
            return ParsedAnswer(task.region)
        why = why_no_code(text.replace("\n+", "\n"), MARKERS, task.excerpt)
        if why:
            return ParsedAnswer(None, why)
        read = self._read_window if self.answer_as == "window" else self._read_patches
        return read(task, text)

    def _read_window(self, task: EditTask, text: str) -> ParsedAnswer:
        if not text.strip():
            return ParsedAnswer(None, EMPTY_ANSWER)
        lines = text.strip("\n").split("\n")
        if len(lines) < 2 or not lines[0].startswith(FENCE) or lines[-1].rstrip() != FENCE:
            return ParsedAnswer(None, UNCLOSED_FENCE)
        return answer_of(self._rows(task).read_rows(lines[1:-1]))

    def _read_patches(self, task: EditTask, text: str) -> ParsedAnswer:
        if not text.strip() or text.strip() == NO_EDIT:
            return ParsedAnswer(task.region)
        patches = read_patches(text)
        if patches is None:
            return ParsedAnswer(None, BROKEN_PATCH)
        if not patches:
            return ParsedAnswer(None, NO_PATCH)
        rows = self._rows(task)
        if any(patch.path != task.path or not rows.first <= patch.line <= rows.last + 1 for patch in patches):
            return ParsedAnswer(None, TEXT_OUTSIDE_REGION)
        new = patched(rows.shown.split("\n"), rows.first, patches)
        return ParsedAnswer(None, NOT_APPLICABLE) if new is None else answer_of(rows.read_rows(new))

    def _rows(self, task: EditTask) -> RegionRows:
        return RegionRows.of(task, self.above, self.below)
