"""What the region was before the last edit of the history: a prediction that equals it undoes what the developer just did."""

from __future__ import annotations

from collections.abc import Sequence

from gapo_cli.records import EditTask

DiffLine = tuple[str, str]
"""(" ", "+" or "-", text)."""


def region_undone(task: EditTask) -> str | None:
    """The region with the newest edit of the history taken back: every hunk of it that lies in the region.

    The newest event of kind "edit" counts, if it is of the task's own file. A hunk lies in the region if its new side
    (context and added lines) is found there at exactly one place; context that sticks out of the region is cut off first.
    None where there is no such edit or hunk, where taking it back changes nothing, or where the target itself is what comes
    out (texts compared stripped): there nothing can be undone wrongly."""
    last = next((event for event in reversed(task.history) if event.kind == "edit" and event.diff), None)
    if last is None or last.path != task.path:
        return None
    lines = task.region.split("\n")
    for hunk in hunks_of(last.diff):
        lines = take_back(hunk, lines)
    undone = "\n".join(lines)
    return None if undone.strip() in (task.region.strip(), task.target.strip()) else undone


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


def take_back(hunk: Sequence[DiffLine], lines: Sequence[str]) -> list[str]:
    """`lines` with the hunk's old side in place of its new side, with as much context as is found; as they are where the
    new side is not there, or not at one place only."""
    changed = [place for place, (sign, _) in enumerate(hunk) if sign in "+-"]
    first, last = changed[0], changed[-1] + 1
    cuts = [(start, end) for start in range(first + 1) for end in range(last, len(hunk) + 1)]
    for start, end in sorted(cuts, key=lambda cut: cut[0] - cut[1]):
        part = hunk[start:end]
        new = [text for sign, text in part if sign != "-"]
        places = [at for at in range(len(lines) - len(new) + 1) if list(lines[at : at + len(new)]) == new] if new else []
        if len(places) == 1:
            old = [text for sign, text in part if sign != "+"]
            return [*lines[: places[0]], *old, *lines[places[0] + len(new) :]]
    return list(lines)
