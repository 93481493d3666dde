"""Fill in the middle with git's merge markers: the region is one side of a conflict, and the model writes the other.

The lines below the region come first, then history and the lines above, then the conflict's first half; the model goes
on after `=======` and ends with `>>>>>>> UPDATED`. Base models have seen both forms in plenty. This is the order of Zed's
second model (zeta2, suffix first, on Seed-Coder); its tokens are settings here, because each model has its own. Raw only:
a chat model has no middle to fill. Instruction and hints have no place in it, which `Prompt.cut` records.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.errors import UserError
from gapo_cli.prompts.parts.fitting import FittedTemplate, Shown
from gapo_cli.prompts.parts.reading import REPEATED_MARKER, marked_answer, read_marked
from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.prompts.parts.shown_parts import with_line_end
from gapo_cli.prompts.parts.zed_text import mark_cursor
from gapo_cli.records import EditTask, HistoryEvent, ParsedAnswer, Prompt

CURRENT = "<<<<<<< CURRENT"
SEPARATOR = "======="
UPDATED = ">>>>>>> UPDATED"
CURSOR = "<|user_cursor|>"
HISTORY_FILE = "edit_history"


@dataclass(frozen=True)
class MergeMarkers(FittedTemplate):
    """`suffix_token`, `prefix_token`, `middle_token`: the model's fill-in-the-middle tokens (the defaults are those of
    Qwen2.5-Coder); `file_token` goes before a file's name. "" for models that have none."""

    suffix_token: str = "<|fim_suffix|>"
    prefix_token: str = "<|fim_prefix|>"
    middle_token: str = "<|fim_middle|>"
    file_token: str = "<|file_sep|>"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chat:
            raise UserError("prompt=merge_markers: fills in raw text and has no chat form; set prompt.chat=false with a base "
                            "model, or choose prompt=instruct_rewrite")  # fmt: skip

    def compose(self, task: EditTask, lines: RegionLines, shown: Shown) -> Prompt:
        history = "".join(_diff_text(event) for event in self.in_order(shown))
        if history:
            history = f"{self.file_token}{HISTORY_FILE}\n{history}\n"
        no_place = [name for name, has in (("instruction", task.instruction or task.system), ("hints", task.hints)) if has]
        return Prompt(
            task.id,
            f"{self.suffix_token}{with_line_end(shown.after)}{self.prefix_token}{history}{self.file_token}{task.path}\n"
            f"{shown.before}{CURRENT}\n{mark_cursor(task, lines, CURSOR)}{SEPARATOR}\n{self.middle_token}",
            cut=tuple(f"{name}: this template has no place for it" for name in no_place),
        )

    def answer(self, task: EditTask, region: str) -> str:
        return marked_answer(task, region, "", UPDATED)

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        if CURRENT in text:  # the whole conflict once more, where only its second half was asked for
            return ParsedAnswer(None, REPEATED_MARKER)
        return read_marked(task, text.replace(CURSOR, ""), CURRENT, UPDATED, start_given=True)


def _diff_text(event: HistoryEvent) -> str:
    old = event.old_path or event.path
    if event.kind == "open":
        return ""
    if event.kind == "rename":
        return f"rename from {old}\nrename to {event.path}\n"
    return f"--- a/{old}\n+++ b/{event.path}\n{with_line_end(event.diff)}"
