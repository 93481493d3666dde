"""Zed's own prompt for edit prediction, as its zeta model (Qwen2.5-Coder-7B) was trained and is asked.

Sections for the instruction, the user's edits and the user's excerpt; the answer begins at the region's start marker and
ends at its end marker. Departures: `chat` splits the same text into a system and a user message, and says in words what
the answer must look like, which zeta knows from training; `begin_answer` writes the start marker for the model. The text
has no place for a task's own instruction or hints: that they were left out is recorded in `Prompt.cut`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.prompts.parts.fitting import FittedTemplate, Shown
from gapo_cli.prompts.parts.reading import marked_answer, read_marked
from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.prompts.parts.zed_text import BETWEEN_EVENTS, REGION_END, REGION_START, event_texts, render_events, render_input
from gapo_cli.records import EditTask, Message, ParsedAnswer, Prompt

INSTRUCTION = (
    "You are a code completion assistant and your task is to analyze user edits and then rewrite an excerpt that the user "
    "provides, suggesting the appropriate edits within the excerpt, taking into account the cursor location."
)
CHAT_FORMAT = (
    f"Answer with the rewritten lines of the editable region and nothing else, from {REGION_START} to {REGION_END}. "
    "Where nothing should change, repeat the region as it is."
)


@dataclass(frozen=True)
class Zeta1(FittedTemplate):
    """`begin_answer`: the prompt ends with the region's start marker, so that the model goes on from there."""

    begin_answer: bool = False

    def compose(self, task: EditTask, lines: RegionLines, shown: Shown) -> Prompt:
        beginning = f"{REGION_START}\n" if self.begin_answer else ""
        sections = f"### User Edits:\n\n{self._events(task, shown)}\n\n### User Excerpt:\n\n{render_input(task, shown.before, shown.after)}"
        no_place = [name for name, has in (("instruction", task.instruction or task.system), ("hints", task.hints)) if has]
        cut = tuple(f"{name}: this template has no place for it" for name in no_place)
        if self.chat:
            messages = (Message("system", f"{INSTRUCTION} {CHAT_FORMAT}"), Message("user", sections))
            return Prompt(task.id, beginning, messages, cut)
        return Prompt(task.id, f"### Instruction:\n{INSTRUCTION}\n\n{sections}\n\n### Response:\n\n{beginning}", cut=cut)

    def answer(self, task: EditTask, region: str) -> str:
        return marked_answer(task, region, "" if self.begin_answer else REGION_START, REGION_END)

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        return read_marked(task, text, REGION_START, REGION_END, start_given=self.begin_answer)

    def _events(self, task: EditTask, shown: Shown) -> str:
        texts = event_texts(task)
        kept = texts[len(texts) - len(shown.history) :]
        if self.history_order == "newest":
            return BETWEEN_EVENTS.join(text.strip("\n") for text in reversed(kept))
        return render_events(task) if len(kept) == len(texts) else "".join(kept).lstrip("\n")
