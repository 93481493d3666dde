"""Answers that are patches: `path:line` (from 0), the lines that go with `-`, the lines that come with `+`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

HEADER = re.compile(r"^(.*):([0-9]{1,9})$")
NOT_APPLICABLE = "patch_does_not_apply"
NO_PATCH = "no_patch"
BROKEN_PATCH = "broken_patch"


@dataclass(frozen=True, slots=True)
class LinePatch:
    """`removed` stand from `line` on, `added` take their place; nothing removed: they come before that line."""

    path: str
    line: int
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((f"{self.path}:{self.line}", *(f"-{one}" for one in self.removed), *(f"+{one}" for one in self.added)))


def patches_between(path: str, first: int, old: Sequence[str], new: Sequence[str]) -> list[LinePatch]:
    """What turns the rows `old`, the first of which has the number `first`, into `new`."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [
        LinePatch(path, first + start, tuple(old[start:end]), tuple(new[new_start:new_end]))
        for kind, start, end, new_start, new_end in matcher.get_opcodes()
        if kind != "equal"
    ]


def read_patches(text: str) -> list[LinePatch] | None:
    """The patches of an answer in its order. Any other line ends a patch; None where a line that goes or comes follows outside of one,
    for then a patch has lost a part."""
    found: list[tuple[str, int, list[str], list[str]]] = []
    is_open = False
    for line in text.split("\n"):
        removed = is_open and line.startswith("-") and not found[-1][3]
        if removed:
            found[-1][2].append(line[1:])
        elif is_open and line.startswith("+"):
            found[-1][3].append(line[1:])
        elif header := HEADER.match(line):
            found.append((header[1], int(header[2]), [], []))
            is_open = True
        elif line[:1] in ("-", "+"):
            return None
        else:
            is_open = False
    return [LinePatch(path, line, tuple(removed), tuple(added)) for path, line, removed, added in found]


def patched(rows: Sequence[str], first: int, patches: Sequence[LinePatch]) -> list[str] | None:
    """The rows, the first of which has the number `first`, with the patches made; None where one lies elsewhere, removes
    something else than what is there, or overlaps another."""
    result, end = list(rows), first + len(rows) + 1
    for patch in sorted(patches, key=lambda one: one.line, reverse=True):
        start = patch.line - first
        behind = start + len(patch.removed)
        if start < 0 or behind > len(rows) or first + behind > end or tuple(rows[start:behind]) != patch.removed:
            return None
        result[start:behind] = patch.added
        end = patch.line
    return result
