"""Measures that Zed takes from an answer's patch: its changed lines, where they begin, blanks that stand alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from gapo_cli.edits.diffs import DiffLine
from gapo_cli.edits.patches import diff_hunks

NO_LINES = ("---", "+++")
"""How rows begin that are not counted: file headers, and changed lines that look like them."""
TOP_REMOVED = 3
"""So many removed lines at the very top say that the answer left out the region's beginning."""
WHOLE = 1 << 30
"""Context lines: all of them."""
REMOVED = -1


@dataclass(frozen=True, slots=True)
class LineCounts:
    """Changed lines that both patches have (`right`), that only the answer (`wrong`) and only the target (`missed`) has."""

    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """0 where neither changes a line."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 0.0


def exact_lines(before: str, prediction: str, target: str) -> LineCounts:
    """Changed lines with their sign, as often as they stand in the patch; a moved line is removed and added."""
    predicted, right = changed_bag(before, prediction), changed_bag(before, target)
    agreed = (predicted & right).total()
    return LineCounts(agreed, predicted.total() - agreed, right.total() - agreed)


@lru_cache(maxsize=256)
def changed_bag(before: str, after: str) -> Counter[str]:
    return Counter(
        sign + text for sign, text in patch_rows(before, after) if sign in "+-" and not (sign + text).startswith(NO_LINES)
    )


@lru_cache(maxsize=256)
def patch_rows(before: str, after: str) -> tuple[DiffLine, ...]:
    """The rows of a patch that has the whole text as context; none where nothing changes. Both texts end in a line end, as
    an editor makes them."""
    hunks = diff_hunks(ended(before), ended(after), WHOLE)
    return tuple((line[:1], line[1:]) for line in hunks.split("\n")[1:-1])


def ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def is_wrong_region(before: str, prediction: str) -> bool | None:
    """The patch begins by removing TOP_REMOVED lines or more. None where there is no patch."""
    rows = patch_rows(before, prediction)
    return all(sign == "-" for sign, _ in rows[:TOP_REMOVED]) and len(rows) >= TOP_REMOVED if rows else None


def has_isolated_blanks(before: str, prediction: str, cursor: int | None = None) -> bool:
    """Some blank line is added or removed with no other change next to it. `cursor`: an offset into the prediction; a blank
    line that is added for the cursor to stand on is exempt."""
    row = None if cursor is None else prediction.count("\n", 0, cursor)
    return any(
        all(not text.strip() for _, _, text in run) and any(place != row for place, _, _ in run)
        for run in _runs(before, prediction)
    )


def _runs(before: str, prediction: str) -> Iterator[list[tuple[int, str, str]]]:
    """Uninterrupted runs of changed lines: (row in the prediction, REMOVED for one that is not in it, sign, text)."""
    run: list[tuple[int, str, str]] = []
    row = 0
    for sign, text in patch_rows(before, prediction):
        if sign == " ":
            if run:
                yield run
            run = []
        else:
            run.append((row if sign == "+" else REMOVED, sign, text))
        row += sign != "-"
    if run:
        yield run


def cursor_distance(prediction: str, cursor: int | None, target: str, right: int | None) -> int | None:
    """Bytes between two places after the edit, each an offset in characters into its own text; None where one is unknown."""
    if cursor is None or right is None:
        return None
    return abs(len(prediction[:cursor].encode()) - len(target[:right].encode()))
