"""A request in plain words, for instruction-tuned models that never saw an edit-prediction prompt.

Says what the developer did, shows the code with the region marked, and asks for the region's new lines in one code
block. A task's own instruction takes the place of "continue these edits".
"""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.prompts.parts.fitting import FittedTemplate, Shown
from gapo_cli.prompts.parts.reading import fenced_answer, read_fenced
from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.prompts.parts.shown_parts import fence_language, hints_text, history_text, marked_code
from gapo_cli.prompts.parts.zed_text import CURSOR, REGION_END, REGION_START
from gapo_cli.records import EditTask, Message, ParsedAnswer, Prompt

SYSTEM = "You are a careful programmer who edits code exactly as asked."
NO_CHANGE_WORD = "NO CHANGE"
RECENT = {
    "oldest": "These are the developer's last changes, the oldest first:",
    "newest": "These are the developer's last changes, the newest first:",
}


@dataclass(frozen=True)
class InstructRewrite(FittedTemplate):
    def compose(self, task: EditTask, lines: RegionLines, shown: Shown) -> Prompt:
        parts = []
        if shown.history:
            parts.append(f"{RECENT[self.history_order]}\n\n{history_text(self.in_order(shown))}")
        if shown.hints:
            parts.append(f"This may help:\n\n{hints_text(shown.hints)}")
        parts.append(f"This is {task.path or 'the code'} now:\n\n{marked_code(task, lines, shown)}")
        wanted = task.instruction or "Make the change that the developer will make next."
        parts.append(
            f"{wanted}\n\nRewrite only the lines between {REGION_START} and {REGION_END}. Keep what need not change. Leave out "
            f"the markers and {CURSOR}, which only shows where the cursor is. Answer with the new lines in one code block and "
            f"nothing else; if nothing should change, answer {NO_CHANGE_WORD}."
        )
        system, request = task.system or SYSTEM, "\n\n".join(parts)
        if self.chat:
            return Prompt(task.id, "", (Message("system", system), Message("user", request)))
        return Prompt(task.id, f"{system}\n\n{request}\n\nThe new lines:\n\n")

    def answer(self, task: EditTask, region: str) -> str:
        return fenced_answer(task, region, fence_language(task))

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        return read_fenced(task, text, REGION_START, REGION_END)
