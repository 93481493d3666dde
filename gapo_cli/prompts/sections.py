"""A format whose layout is settings, for finding one that suits a model: the order of the sections, how much history in which order,
how edits are written, and what marks things. For models that are going to be trained on it; raw only.

The answer is the region's lines, bare; in a code fence where bare lines would be read as something else.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.config.checks import one_of, require
from gapo_cli.edits.diffs import hunks_of, sides_of
from gapo_cli.prompts.nano import AFTER, ANSWER, CODE, NEW, OLD, REGION
from gapo_cli.prompts.nano import CURSOR as NANO_CURSOR
from gapo_cli.prompts.parts.fitting import FittedTemplate, Shown
from gapo_cli.prompts.parts.reading import code_blocks, fenced_answer, read_fenced, says_no_change
from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.prompts.parts.shown_parts import with_line_end
from gapo_cli.prompts.parts.zed_text import CURSOR, REGION_END, REGION_START, mark_cursor
from gapo_cli.records import EditTask, Hint, HistoryEvent, ParsedAnswer, Prompt

HISTORY, HINTS, CODE_SECTION = "history", "hints", "code"
SECTIONS = (HISTORY, HINTS, CODE_SECTION)
UNIFIED, SIDES, CHANGED = "unified", "sides", "changed"
DIFFS = (UNIFIED, SIDES, CHANGED)
"""How an edit is written: as a diff; as its old lines and its new ones; as a diff without the lines that stay."""


@dataclass(frozen=True)
class Marks:
    """What is written around things. `section`: before one, {} being its name; `start`, `end`: around the region; `answer`: the
    last words of a prompt; `old`, `new`: before an edit's sides."""

    section: str
    start: str
    end: str
    cursor: str
    answer: str
    old: str
    new: str


MARKS = {
    "tags": Marks("<{}>\n", "<region>\n", "</region>\n", "<cursor/>", "<answer>\n", "<old>\n", "<new>\n"),
    "zed": Marks("### {}\n", f"{REGION_START}\n", f"{REGION_END}\n", CURSOR, "### answer\n", "old:\n", "new:\n"),
    "comments": Marks("# {}:\n", "# >>>\n", "# <<<\n", "", "# edited:\n", "# old:\n", "# new:\n"),
    # the single tokens of the shipped model
    "nano": Marks(CODE, REGION, AFTER, NANO_CURSOR, ANSWER, OLD, NEW),
}


@dataclass(frozen=True)
class Sections(FittedTemplate):
    """`order`: of history, hints and code; one that a task lacks is left out. `marks` out of MARKS; `diffs` out of DIFFS. A task's
    instruction comes before all sections."""

    order: tuple[str, ...] = SECTIONS
    marks: str = "tags"
    diffs: str = UNIFIED

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "order", tuple(self.order))
        given = ",".join(map(str, self.order))
        require(sorted(self.order) == sorted(SECTIONS), f"prompt.order=[{given}]: need {', '.join(SECTIONS)}, each once")
        one_of("prompt.marks", self.marks, tuple(MARKS))
        one_of("prompt.diffs", self.diffs, DIFFS)
        require(
            not self.chat,
            "prompt=sections: is raw text and has no chat form; set prompt.chat=false with a base model, or choose prompt=five_part",
        )

    @property
    def words(self) -> Marks:
        return MARKS[self.marks]

    def compose(self, task: EditTask, lines: RegionLines, shown: Shown) -> Prompt:
        asked = "\n".join(text for text in (task.system, task.instruction) if text)
        texts = {
            HISTORY: "".join(map(self.event_text, self.in_order(shown))),
            HINTS: "".join(map(hint_text, shown.hints)),
            CODE_SECTION: self.code_text(task, lines, shown),
        }
        sections = (self.words.section.format(name) + texts[name] for name in self.order if texts[name])
        return Prompt(task.id, with_line_end(asked) + "".join(sections) + self.words.answer)

    def code_text(self, task: EditTask, lines: RegionLines, shown: Shown) -> str:
        words = self.words
        region = mark_cursor(task, lines, words.cursor)
        return f"{shown.before}{words.start}{region}{words.end}{with_line_end(shown.after)}"

    def event_text(self, event: HistoryEvent) -> str:
        """ "" for a file that was only opened."""
        if event.kind == "open":
            return ""
        if event.kind == "rename":
            return f"{event.old_path} -> {event.path}\n"
        if self.diffs == UNIFIED:
            return f"{event.path}\n{with_line_end(event.diff)}"
        texts = []
        for hunk in hunks_of(event.diff):
            if self.diffs == CHANGED:
                texts.append("".join(f"{sign}{text}\n" for sign, text in hunk if sign != " "))
            else:
                old, new = ("".join(f"{line}\n" for line in side) for side in sides_of(hunk))
                texts.append(f"{self.words.old}{old}{self.words.new}{new}")
        return f"{event.path}\n" + "".join(texts) if texts else ""

    def answer(self, task: EditTask, region: str) -> str:
        lines = RegionLines.of(task).write(region)
        bare = lines.strip() and not says_no_change(lines) and code_blocks(lines) == []
        return lines if bare else fenced_answer(task, region)

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        words = self.words
        if words.cursor:
            text = text.replace(words.cursor, "")
        return read_fenced(task, text, words.start.strip("\n"), words.end.strip("\n"))


def hint_text(hint: Hint) -> str:
    return f"{hint.path or hint.kind}\n{with_line_end(hint.text)}"
