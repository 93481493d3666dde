"""What the region was before the last edit of the history: a prediction that equals it undoes what the developer just did."""

from __future__ import annotations

from collections.abc import Sequence

from gapo_cli.edits.diffs import DiffLine, hunks_of
from gapo_cli.edits.paths import same_file
from gapo_cli.records import EditTask


def region_undone(task: EditTask) -> str | None:
    """The region with the newest edit of the history taken back: every hunk of it that lies in the region.

    The newest event of kind "edit" counts, if it is of the task's own file: what was done elsewhere meanwhile is not undone. A hunk lies in the region if its new side
    (context and added lines) is found there at exactly one place; context that sticks out of the region is cut off first.
    None where there is no such edit or hunk, where taking it back changes nothing, or where a target itself is what comes
    out (texts compared stripped): there nothing can be undone wrongly."""
    newest = next((event for event in reversed(task.history) if event.kind == "edit" and event.diff), None)
    if newest is None or not same_file(newest.path, task.path):
        return None
    undone = region_before(task)
    return None if undone is None or undone.strip() in [target.strip() for target in task.targets] else undone


def region_before(task: EditTask) -> str | None:
    """The region with the newest edit of its own file taken back, other files' edits passed over; None where nothing of it lies in the
    region. An accepted prediction is no edit of the developer's."""
    own = (
        event for event in reversed(task.history) if event.kind == "edit" and event.diff and same_file(event.path, task.path)
    )
    last = next(own, None)
    if last is None or last.predicted:
        return None
    lines = task.region.split("\n")
    for hunk in hunks_of(last.diff):
        lines = take_back(hunk, lines)
    undone = "\n".join(lines)
    return None if undone.strip() == task.region.strip() else undone


def take_back(hunk: Sequence[DiffLine], lines: Sequence[str]) -> list[str]:
    """`lines` with the hunk's old side in place of its new side, with as much context as is found; as they are where the
    new side is not there, or not at one place only."""
    changed = [place for place, (sign, _) in enumerate(hunk) if sign in "+-"]
    first, last = changed[0], changed[-1] + 1
    above, below = [text for _, text in hunk[:first]][::-1], [text for _, text in hunk[last:]]
    new = [text for sign, text in hunk[first:last] if sign != "-"]
    places = [at for at in range(len(lines) - len(new) + 1) if lines[at : at + len(new)] == new]
    # of each place of the changed lines, how far its surroundings are the hunk's context
    reach = [
        (
            at,
            shared(above, lines[max(0, at - len(above)) : at][::-1]),
            shared(below, lines[at + len(new) : at + len(new) + len(below)]),
        )
        for at in places
    ]
    best: tuple[int, int] | None = None
    for up in range(len(above), -1, -1):
        downs = sorted(((down, at) for at, reached, down in reach if reached >= up), reverse=True)
        # with the largest `down` one place is left, unless two share it
        if not downs or (len(downs) > 1 and downs[0][0] == downs[1][0]) or not new and not up + downs[0][0]:
            continue
        if best is None or up + downs[0][0] > best[0]:
            best = (up + downs[0][0], downs[0][1])
    if best is None:
        return list(lines)
    old = [text for sign, text in hunk[first:last] if sign != "+"]
    return [*lines[: best[1]], *old, *lines[best[1] + len(new) :]]


def shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many of the first lines of both are alike."""
    return next(
        (place for place, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]),
        min(len(first), len(second)),
    )
