"""Zed's model of spring 2026 (zed-industries/zeta-2.1, on Seed-Coder-8B-Base; the editor's `prompt_format: "zeta2_1"`):
V0318SeedMultiRegions.

Zeta 2's prompt with numbered tags in the region instead of merge markers around it; the answer rewrites from one tag to
another. Nothing to do: the same tag twice. An answer with fewer than two tags is not whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gapo_cli.prompts.parts.numbered_borders import TAG_START, read, tagged, written
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.zed_fim import CURSOR, ZedFim
from gapo_cli.prompts.parts.zed_sections import line_ended
from gapo_cli.records import EditTask, ParsedAnswer

SUFFIX, PREFIX, MIDDLE, FILE = "<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>", "<filename>"
END = "<[end\u2581of\u2581sentence]>"
"""Seed-Coder's own end token."""


@dataclass(frozen=True)
class Zeta21(ZedFim):
    file_marker: ClassVar[str] = FILE
    tokens: ClassVar[tuple[str, ...]] = (SUFFIX, PREFIX, MIDDLE, END)
    markers: ClassVar[tuple[str, ...]] = (SUFFIX, PREFIX, MIDDLE, FILE, TAG_START, CURSOR, END)
    stop: ClassVar[tuple[str, ...]] = (END,)

    def cursor_section(self, task: EditTask, rows: RegionRows, before: str) -> str:
        return f"{self.file_marker}{task.path}\n{before}{line_ended(tagged(rows.shown, rows.cursor_offset(task), CURSOR))}"

    def assembled(self, context_sections: str, cursor_section: str, after: str) -> str:
        return f"{SUFFIX}{after}{PREFIX}{context_sections}{cursor_section}{MIDDLE}"

    def answer(self, task: EditTask, region: str) -> str:
        return written(task, RegionRows.of(task), region, CURSOR) + self.stop[0]

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        (end,) = self.stop
        return read(task, text, end, tuple(token for token in self.tokens if token != end), CURSOR)
