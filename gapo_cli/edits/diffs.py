"""Unified diffs as hunks of lines."""

from __future__ import annotations

DiffLine = tuple[str, str]
"""(" ", "+" or "-", text)."""


def hunks_of(diff: str) -> list[list[DiffLine]]:
    """The hunks of a unified diff, or of a diff's body without a header."""
    hunks: list[list[DiffLine]] = [[]]
    in_hunk = not any(line.startswith("@@") for line in diff.split("\n"))
    for line in diff.removesuffix("\n").split("\n"):
        if line.startswith("@@"):
            hunks.append([])
            in_hunk = True
        elif in_hunk and not line.startswith("\\"):
            # an empty line is context whose one blank was stripped
            hunks[-1].append((line[:1] or " ", line[1:]))
    return [hunk for hunk in hunks if any(sign in "+-" for sign, _ in hunk)]
