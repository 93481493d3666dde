"""Files that are copies of another file of the same tree: a mirrored or vendored folder, found by content.

Only files of one name are compared, and only when one of them changes. A copy has nearly the same lines as the original; which of two
is the copy is told by age, and among files of one age by depth: the mirror of a folder is made later, or lies deeper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from gapo_cli.tasks.git.git_reader import FileChange

FEWEST_LINES = 8
"""Files of fewer lines, blank ones left out, may be alike by chance."""
SAME_LINES = 0.9
"""The share of the longer file's lines that a copy has: copies differ in their imports or their heading."""
MOST_COMPARED = 8
"""Files of one name that a changed one is compared with, the last changed first: names such as index.ts are frequent."""
KEPT_FILES = 1024
FROM_THE_START = 0
"""The age of a file that was there before the first commit that is read."""


class CopiedFiles:
    """Follows what stands where, commit after commit. `content`: a blob's bytes, None where it cannot be compared. `folders`:
    how many changed files were copies, by the folder that is a mirror; `others`: how many were none, by their path."""

    def __init__(self, content: Callable[[str], bytes | None]) -> None:
        self.content = content
        self.places: dict[bytes, dict[bytes, str]] = {}
        self.age: dict[bytes, int] = {}
        self.commits = 0
        self.folders: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.lines = lru_cache(maxsize=KEPT_FILES)(self._read)

    def follow(self, changes: Sequence[FileChange], usable: Callable[[FileChange], bool]) -> None:
        """What one commit changed. `usable`: the file would be mined; one that is left out anyway is no original."""
        self.commits += 1
        for change in changes:
            self._follow(change, usable(change))

    def _follow(self, change: FileChange, usable: bool) -> None:
        if change.status in "DR":
            self.places.get(name_of(change.old_path), {}).pop(change.old_path, None)
        if change.status == "R":
            self.age[change.path] = self.age.get(change.old_path, FROM_THE_START)
        elif change.path not in self.age:
            self.age[change.path] = self.commits if change.status == "A" else FROM_THE_START
        if usable and change.status != "D":
            there = self.places.setdefault(name_of(change.path), {})
            there.pop(change.path, None)  # the last changed stand last
            there[change.path] = change.new

    def is_copy(self, path: bytes) -> bool:
        """Whether a file, as it stands now, is a copy; counts it by its folder."""
        there = self.places.get(name_of(path), {})
        others = [other for other in reversed(there) if other != path][:MOST_COMPARED]
        for other in others:
            if self._rank(other) < self._rank(path) and alike(self.lines(there[path]), self.lines(there[other])):
                self.folders[mirrored_folder(path, other)] += 1
                return True
        self.others[path.decode("utf-8", "replace")] += 1
        return False

    def mirrors(self) -> list[tuple[str, int]]:
        """The folders in which most changed files were copies, each with how many those were, the largest first."""
        found = []
        for folder, copies in self.folders.most_common():
            others = sum(count for path, count in self.others.items() if path.startswith(f"{folder}/"))
            if folder and copies > others:
                found.append((folder, copies))
        return found

    def _rank(self, path: bytes) -> tuple[int, int, bytes]:
        return self.age[path], path.count(b"/"), path

    def _read(self, blob: str) -> Counter[bytes]:
        content = self.content(blob)
        return Counter(filter(None, map(bytes.strip, (content or b"").split(b"\n"))))


def name_of(path: bytes) -> bytes:
    return path.rsplit(b"/", 1)[-1]


def alike(first: Counter[bytes], second: Counter[bytes]) -> bool:
    """Both are long enough, and nearly all lines of the longer one stand in the other as often."""
    sizes = first.total(), second.total()
    if min(sizes) < max(FEWEST_LINES, SAME_LINES * max(sizes)):
        return False
    return (first & second).total() >= SAME_LINES * max(sizes)


def mirrored_folder(copy: bytes, original: bytes) -> str:
    """The folder that mirrors another one: the copy's path without the end that both paths have in common."""
    own, other = copy.decode("utf-8", "replace").split("/"), original.decode("utf-8", "replace").split("/")
    same = 1
    while same < min(len(own), len(other)) and own[-same - 1] == other[-same - 1]:
        same += 1
    return "/".join(own[:-same])
