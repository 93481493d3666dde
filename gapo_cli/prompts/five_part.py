"""The five parts that arXiv:2510.21830 gives its models: system prompt, instruction, hints, edit history, and the current
code with the cursor range. The answer is the edited snippet that replaces the range, or a special token for "no change".

The paper does not print its texts: the words here are this project's. Parts that a task lacks are left out, except the
system prompt and the instruction, which have a text of their own then.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.prompts.parts.fitting import FittedTemplate, Shown
from gapo_cli.prompts.parts.reading import NO_CHANGE_TOKEN, fenced_answer, read_fenced
from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.prompts.parts.shown_parts import fence_language, hints_text, history_text, marked_code
from gapo_cli.prompts.parts.zed_text import CURSOR, REGION_END, REGION_START
from gapo_cli.records import EditTask, Message, ParsedAnswer, Prompt

SYSTEM = "You are an edit assistant inside a code editor. You predict the developer's next edit."
INSTRUCTION = "Continue what the edit history began: rewrite the cursor range as the developer would."
ORDER_WORDS = {"oldest": "oldest first", "newest": "newest first"}


@dataclass(frozen=True)
class FivePart(FittedTemplate):
    """`teach_no_change`: supervised training learns to say `<|no_change|>` instead of an unchanged range. Answers that say
    it are understood in either case."""

    teach_no_change: bool = False

    def compose(self, task: EditTask, lines: RegionLines, shown: Shown) -> Prompt:
        parts = [("Instruction", task.instruction or INSTRUCTION)]
        if shown.hints:
            parts.append(("Hints", hints_text(shown.hints)))
        if shown.history:
            parts.append((f"Edit history ({ORDER_WORDS[self.history_order]})", history_text(self.in_order(shown))))
        parts.append((f"Code of {task.path or 'an unnamed file'}", marked_code(task, lines, shown)))
        parts.append(("Answer", (
            f"The cursor range is what stands between {REGION_START} and {REGION_END}; {CURSOR} is the cursor. Answer with the "
            f"edited snippet that replaces the range, in a code block, or with {NO_CHANGE_TOKEN}."
        )))  # fmt: skip
        request = "\n\n".join(f"### {title}\n{text}" for title, text in parts)
        system = task.system or SYSTEM
        if self.chat:
            return Prompt(task.id, "", (Message("system", system), Message("user", request)))
        return Prompt(task.id, f"### System\n{system}\n\n{request}\n\n### Snippet\n")

    def answer(self, task: EditTask, region: str) -> str:
        if self.teach_no_change and region == task.region:
            return NO_CHANGE_TOKEN
        return fenced_answer(task, region, fence_language(task))

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        return read_fenced(task, text, REGION_START, REGION_END)
