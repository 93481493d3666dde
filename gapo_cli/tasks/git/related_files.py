"""Excerpts of other files that a mined task shows: those that its commit changes too, and those that are imported.

Every file is read as it stood before the commit, so nothing of what the commit wrote can be in it. Of each file one excerpt
is taken: the rows that share the rarest words with the region and with what was just edited. Files that share none are not
related.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gapo_cli.config.checks import require
from gapo_cli.records import EditTask, Hint
from gapo_cli.tasks.git.changed_files import ChangedFiles, Unusable, Usable, printable
from gapo_cli.tasks.git.file_filters import path_reason
from gapo_cli.tasks.git.git_reader import GitReader
from gapo_cli.tasks.git.imports import imported_paths
from gapo_cli.tasks.languages import language_of

COMMIT, IMPORT, IMPORTED_BY = "commit", "import", "imported_by"
"""How a file was found: the commit changes it too; the task's file imports it; the commit changes it, and it imports the
task's file."""
WORD = re.compile(r"[^\W\d]\w{2,}")
SHOWN_EVENTS = 3
"""The newest events of the history whose words count."""
KEPT_FILES = 2048
"""Files whose words are kept: a commit's neighbours change the same ones."""


@dataclass(frozen=True, kw_only=True)
class RelatedShape:
    """`related_characters`: of all excerpts of a task together; 0: none. `related_files`: at most so many. `related_rows`: of
    an excerpt, at most."""

    related_characters: int = 4000
    related_files: int = 4
    related_rows: int = 24

    def __post_init__(self) -> None:
        require(self.related_characters >= 0, f"data.source.related_characters={self.related_characters}: need 0 or more")
        for name in ("related_files", "related_rows"):
            require(getattr(self, name) > 0, f"data.source.{name}={getattr(self, name)}: need at least 1")


@dataclass(frozen=True, slots=True)
class Words:
    """A file's lines, and the rows that each of its words stands in."""

    lines: tuple[str, ...]
    rows: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Rows [start, end) of a file and how much they have to do with the task."""

    path: str
    source: str
    start: int
    end: int
    weight: float
    file: Words


class RelatedFiles:
    """Finds them for one walk through a history."""

    def __init__(self, reader: GitReader, files: ChangedFiles, shape: RelatedShape) -> None:
        self.reader, self.files, self.shape = reader, files, shape
        self.words = lru_cache(maxsize=KEPT_FILES)(self._read)
        self.imports = lru_cache(maxsize=KEPT_FILES)(self._imports)

    def hints(self, task: EditTask, parent: str, usable: Sequence[Usable], may_show: Callable[[str], bool]) -> tuple[Hint, ...]:
        """The excerpts, the most related first, within the budget. `may_show`: whether a file by its path."""
        wanted = words_of(task)
        candidates = self.candidates(task.path, parent, usable)
        found = [self.excerpt(path, blob, source, wanted) for path, blob, source in candidates if may_show(path)]
        best = sorted((one for one in found if one is not None), key=lambda one: (-one.weight, one.path))
        hints: list[Hint] = []
        left = self.shape.related_characters
        for one in best:
            lines = one.file.lines[one.start : one.end]
            while lines and sum(len(line) + 1 for line in lines) > left:
                lines = lines[:-1]
            if not any(map(str.strip, lines)) or len(hints) == self.shape.related_files:
                continue
            text = "".join(f"{line}\n" for line in lines)
            left -= len(text)
            rows = (one.start, one.start + len(lines))
            hints.append(Hint("related_file", one.path, text, rows, len(hints), one.source, len(one.file.lines)))
        return tuple(hints)

    def candidates(self, path: str, parent: str, usable: Sequence[Usable]) -> Iterator[tuple[str, str, str]]:
        """(path, blob, how it was found) of files as they stood before the commit, each once."""
        own = next((file.change for file in usable if file.change.path.decode("utf-8", "replace") == path), None)
        before = own.old_path.decode("utf-8", "replace") if own else path
        seen = {path, before}
        for file in usable:
            name = printable(file.change.old_path)
            if file.change.status in "MR" and name is not None and name not in seen:
                seen.add(name)
                mutual = before in self.imports(file.change.old, name)
                yield name, file.change.old, IMPORTED_BY if mutual else COMMIT
        for name in self.imports(own.old, before) if own and own.status in "MR" else ():
            if name not in seen and path_reason(name) is None:
                seen.add(name)
                blob = self.reader.blob_at(parent, name)
                if blob is not None:
                    yield name, blob, IMPORT

    def excerpt(self, path: str, blob: str, source: str, wanted: frozenset[str]) -> Excerpt | None:
        """The rows of a file that share most with the words of a task, a rare word counting for more; None where none does or
        the file cannot be shown."""
        file = self.words(blob)
        if file is None:
            return None
        weights = [0.0] * (len(file.lines) + 1)
        for word in sorted(
            wanted & file.rows.keys()
        ):  # a sum of floats depends on their order, and a set's order on the process
            for row in file.rows[word]:
                weights[row] += 1 / len(file.rows[word])
        if not any(weights):
            return None
        size = self.shape.related_rows
        window = best = sum(weights[:size])
        start = 0
        for first in range(1, len(file.lines) - size + 1):
            window += weights[first + size - 1] - weights[first - 1]
            if window > best + 1e-9:  # sums of the same numbers in another order are equal
                best, start = window, first
        return Excerpt(path, source, start, min(start + size, len(file.lines)), best, file)

    def _read(self, blob: str) -> Words | None:
        try:
            if self.reader.size(blob) > self.files.options.max_file:
                return None
            lines = self.files.lines(blob)
        except Unusable:
            return None
        rows: dict[str, list[int]] = {}
        for row, line in enumerate(lines):
            for word in set(WORD.findall(line)):
                rows.setdefault(word, []).append(row)
        return Words(tuple(lines), rows)

    def _imports(self, blob: str, path: str) -> tuple[str, ...]:
        file = self.words(blob)
        return () if file is None else tuple(imported_paths(language_of(path), path, file.lines))


def words_of(task: EditTask) -> frozenset[str]:
    """Of the region, and of the lines that the newest events changed."""
    changed = [line[1:] for event in task.history[-SHOWN_EVENTS:] for line in event.diff.split("\n") if line[:1] in ("+", "-")]
    return frozenset(WORD.findall("\n".join((task.region, *changed))))
