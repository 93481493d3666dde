"""Zed's second model (zed-industries/zeta-2, on Seed-Coder-8B-Base; the editor's `prompt_format: "zeta2"`): V0211SeedCoder.

The lines below the region come first, then related files, history and the lines above, then the region as the first half of
a merge conflict; the answer is the second half. An unchanged region is repeated: there is no word for "no edit", but models
say their teachers' (`NO_EDITS`), which is understood. An answer without the end marker is not whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from gapo_cli.prompts.parts.reading import (
    EMPTY_ANSWER,
    MISSING_END_MARKER,
    REPEATED_MARKER,
    TEXT_OUTSIDE_REGION,
)
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import answer_of, says_teacher_word, why_no_code
from gapo_cli.prompts.parts.zed_fim import CURSOR, ZedFim
from gapo_cli.prompts.parts.zed_sections import line_ended
from gapo_cli.records import EditTask, ParsedAnswer

SUFFIX, PREFIX, MIDDLE, FILE = "<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>", "<filename>"
CURRENT, SEPARATOR, UPDATED = "<<<<<<< CURRENT\n", "=======\n", ">>>>>>> UPDATED"

END_LINE = re.compile(rf"^(?:{re.escape(CURSOR)})?({UPDATED})", re.MULTILINE)
"""The marker ends an answer where a line begins with it, or with the cursor at the region's end and it; within a line it is code, at
which a server may have stopped too early."""
END_OF_OPEN_ROW = re.compile(rf"({UPDATED})\n*\Z")
"""But a region that ends the excerpt without a line break is written without one before the marker."""


@dataclass(frozen=True)
class Zeta2(ZedFim):
    file_marker: ClassVar[str] = FILE
    tokens: ClassVar[tuple[str, ...]] = (SUFFIX, PREFIX, MIDDLE)
    markers: ClassVar[tuple[str, ...]] = (SUFFIX, PREFIX, MIDDLE, FILE, CURRENT, SEPARATOR, UPDATED, CURSOR)
    stop: ClassVar[tuple[str, ...]] = (UPDATED,)

    def cursor_section(self, task: EditTask, rows: RegionRows, before: str) -> str:
        return f"{FILE}{task.path}\n{before}{CURRENT}{line_ended(rows.marked(task, CURSOR))}{SEPARATOR}"

    def assembled(self, context_sections: str, cursor_section: str, after: str) -> str:
        return f"{SUFFIX}{after}{PREFIX}{context_sections}{cursor_section}{MIDDLE}"

    def answer(self, task: EditTask, region: str) -> str:
        rows = RegionRows.of(task)
        text, cursor = rows.write(region), rows.cursor_after(task, region)
        marked = text if cursor is None else text[:cursor] + CURSOR + text[cursor:]
        return f"{marked}{UPDATED}\n"

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        rows = RegionRows.of(task)
        end = END_LINE.search(text) or (END_OF_OPEN_ROW.search(text) if rows.is_open else None)
        body, behind = (text, "") if end is None else (text[: end.start(1)], text[end.end() :])
        if says_teacher_word(body):
            return ParsedAnswer(task.region)
        if not text.strip():
            return ParsedAnswer(None, EMPTY_ANSWER)
        if end is None:
            return ParsedAnswer(None, MISSING_END_MARKER)
        if behind.strip():
            return ParsedAnswer(None, REPEATED_MARKER if UPDATED in behind else TEXT_OUTSIDE_REGION)
        cursor = body.find(CURSOR)
        body = body.replace(CURSOR, "", 1)
        why = why_no_code(body, (SUFFIX, PREFIX, MIDDLE, CURRENT, CURSOR), rows.shown)
        # elsewhere than at the start such a line is code, as the one below a heading
        if body.startswith(SEPARATOR) and not rows.shown.startswith(SEPARATOR):
            why = REPEATED_MARKER
        if why:
            return ParsedAnswer(None, why)
        return answer_of(rows.read(body), None if cursor < 0 else cursor - len(rows.head))
