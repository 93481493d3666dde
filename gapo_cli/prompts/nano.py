"""The nano model's prompt: markers that are single tokens of its tokenizer, and nothing that could be left out.

History events come oldest first as old and new lines; the excerpt follows with the region and the cursor marked; the
answer is the edited region. Code is shifted left by the excerpt's common indentation, and back when it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gapo_cli.edits.diffs import DiffLine, hunks_of, sides_of
from gapo_cli.errors import UserError
from gapo_cli.records import EditTask, ParsedAnswer, Prompt

OLD, NEW, CODE, REGION, CURSOR, AFTER, ANSWER = (
    "<|old|>", "<|new|>", "<|code|>", "<|region|>", "<|cursor|>", "<|after|>", "<|answer|>",
)  # fmt: skip
LEFT = "<|left|>"  # before a line that has less indentation than the excerpt, so that shifting loses nothing
MARKERS = (OLD, NEW, CODE, REGION, CURSOR, AFTER, ANSWER, LEFT)


@dataclass(frozen=True)
class NanoTemplate:
    """`history_events`: the newest so many edits are shown."""

    history_events: int = 4

    def __post_init__(self) -> None:
        if self.history_events < 0:
            raise UserError(f"prompt.history_events={self.history_events}: need 0 or more")

    def render(self, task: EditTask) -> Prompt:
        edits = [event for event in task.history if event.kind == "edit"]
        shown = edits[len(edits) - min(len(edits), self.history_events) :]
        history = "".join(_render_hunk(hunk) for event in shown for hunk in hunks_of(event.diff))
        indent = common_indent(task.excerpt)
        region = task.region
        if task.cursor is not None and task.editable[0] <= task.cursor[0] <= task.editable[1]:
            offset = task.cursor[0] - task.editable[0]
            line_start = region.rfind("\n", 0, offset) + 1
            # a cursor inside the indentation that is shifted away stands at the first character that stays
            offset = max(offset, min(line_start + len(indent), len(region)))
            region = region[:offset] + CURSOR + region[offset:]
        body = (
            f"{CODE}{_shift_left(task.before, indent)}"
            f"{REGION}{_shift_left(region, indent)}{AFTER}{_shift_left(task.after, indent)}{ANSWER}"
        )
        cut = [] if len(shown) == len(edits) else [f"history: {len(edits) - len(shown)} oldest edits"]
        no_place = (("instruction", task.instruction or task.system), ("hints", task.hints))
        cut += [f"{name}: this template has no place for it" for name, has in no_place if has]
        return Prompt(task.id, history + body, cut=tuple(cut))

    def answer(self, task: EditTask, region: str) -> str:
        return _shift_left(region, common_indent(task.excerpt))

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        """Any text is a region except one that repeats a prompt marker."""
        indent = common_indent(task.excerpt)
        if any(marker in text for marker in MARKERS if marker != LEFT):
            return ParsedAnswer(None, "prompt_marker")
        lines = []
        for line in text.split("\n"):
            if line.startswith(LEFT):
                lines.append(line.removeprefix(LEFT))
            else:
                lines.append(indent + line if line else "")
        region = "\n".join(lines)
        return ParsedAnswer(region if LEFT not in region else None, "prompt_marker" if LEFT in region else None)


def common_indent(text: str) -> str:
    """The blanks that every non-blank line of `text` begins with."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return ""
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines]
    shortest = min(indents, key=len)
    return shortest if all(indent.startswith(shortest) for indent in indents) else ""


def _shift_left(text: str, indent: str) -> str:
    """Without `indent` at the start of each line; lines that don't have it are marked."""
    lines = []
    for line in text.split("\n"):
        if not line:
            lines.append("")
        elif line.startswith(indent) and (line != indent or not indent):
            lines.append(line[len(indent) :])
        else:
            lines.append(LEFT + line)
    return "\n".join(lines)


def _render_hunk(hunk: Sequence[DiffLine]) -> str:
    old, new = sides_of(hunk)
    indent = common_indent("\n".join(old + new))
    return "".join(
        marker + "\n".join(line.removeprefix(indent) for line in lines) for marker, lines in ((OLD, old), (NEW, new))
    )
