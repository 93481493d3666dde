"""Zeta 2.1's format with the tokens of Qwen2.5-Coder, the lines above first: Zed's V0608QwenMultiRegions. The natural choice
for a model on a Qwen base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gapo_cli.prompts.parts.numbered_borders import TAG_START
from gapo_cli.prompts.parts.zed_fim import CURSOR
from gapo_cli.prompts.zeta2_1 import Zeta21

PREFIX, SUFFIX, MIDDLE, FILE, END = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|im_end|>"


@dataclass(frozen=True)
class Zeta2Qwen(Zeta21):
    file_marker: ClassVar[str] = FILE
    tokens: ClassVar[tuple[str, ...]] = (PREFIX, SUFFIX, MIDDLE, FILE, END)
    markers: ClassVar[tuple[str, ...]] = (*tokens, TAG_START, CURSOR)
    stop: ClassVar[tuple[str, ...]] = (END,)

    def assembled(self, context_sections: str, cursor_section: str, after: str) -> str:
        return f"{PREFIX}{context_sections}{cursor_section}{SUFFIX}{after}{MIDDLE}"
