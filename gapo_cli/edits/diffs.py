"""Unified diffs as hunks of lines: the one reader of the diffs that a history holds."""

from __future__ import annotations

from collections.abc import Sequence

DiffLine = tuple[str, str]
"""(" ", "+" or "-", text)."""


def hunks_of(diff: str) -> list[list[DiffLine]]:
    """The hunks of a unified diff, or of a diff's body without any header; hunks that change nothing are left out. A line
    with none of the three signs is context whose blank was stripped, as in the zeta data. Any text is taken."""
    rows = diff.removesuffix("\n").split("\n")
    if len(rows) > 1 and rows[0].startswith("--- ") and rows[1].startswith("+++ "):
        rows = rows[2:]
    hunks: list[list[DiffLine]] = [[]]
    in_hunk = not any(row.startswith("@@") for row in rows)
    for row in rows:
        if row.startswith("@@"):
            hunks.append([])
            in_hunk = True
        elif row.startswith("\\"):  # "\ No newline at end of file"
            continue
        elif in_hunk := in_hunk and not row.startswith("diff --git "):  # the header of another file
            hunks[-1].append((row[0], row[1:]) if row.startswith((" ", "+", "-")) else (" ", row))
    return [hunk for hunk in hunks if any(sign in "+-" for sign, _ in hunk)]


def sides_of(hunk: Sequence[DiffLine]) -> tuple[list[str], list[str]]:
    """(old lines, new lines) of a hunk; context lines stand in both."""
    return [text for sign, text in hunk if sign != "+"], [text for sign, text in hunk if sign != "-"]
