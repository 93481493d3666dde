"""Zeta 2.1's format with the tokens of Qwen2.5-Coder, the lines above first: Zed's V0608QwenMultiRegions. The natural choice
for a model on a Qwen base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gapo_cli.prompts.parts.numbered_borders import TAG_START, read, tagged, written
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.zed_fim import CURSOR, ZedFim
from gapo_cli.records import EditTask, ParsedAnswer

PREFIX, SUFFIX, MIDDLE, FILE, END = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|im_end|>"


@dataclass(frozen=True)
class Zeta2Qwen(ZedFim):
    file_marker: ClassVar[str] = FILE
    tokens: ClassVar[tuple[str, ...]] = (PREFIX, SUFFIX, MIDDLE, FILE, END)
    markers: ClassVar[tuple[str, ...]] = (*tokens, TAG_START, CURSOR)
    stop: ClassVar[tuple[str, ...]] = (END,)

    def cursor_section(self, task: EditTask, rows: RegionRows, before: str) -> str:
        section = tagged(rows.shown, rows.cursor_offset(task), CURSOR)
        return f"{FILE}{task.path}\n{before}{section}\n"

    def assembled(self, context_sections: str, cursor_section: str, after: str) -> str:
        return f"{PREFIX}{context_sections}{cursor_section}{SUFFIX}{after}{MIDDLE}"

    def answer(self, task: EditTask, region: str) -> str:
        return written(task, RegionRows.of(task), region, CURSOR) + END

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        return read(task, text, END, (PREFIX, SUFFIX, MIDDLE, FILE), CURSOR)
