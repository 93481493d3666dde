"""data=stdlib: edit tasks made from the source of this machine's own Python standard library.

In each file an edit family (gapo_cli/tasks/families) finds places that a developer would change one after the other.
A task shows the last one or two changes as history; the region around the next place is to be predicted. Whole
top-level packages go to one split, and no (region, target) pair stands on both sides of a split.
"""

from __future__ import annotations

import hashlib
import os
import platform
import random
import sysconfig
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError, UserError
from gapo_cli.hardware import usable_cores
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.processes.pool import map_in_processes
from gapo_cli.records import EditTask, HistoryEvent, Source, TaskSet
from gapo_cli.tasks.families import ChangeSet
from gapo_cli.tasks.families.catalogue import all_families
from gapo_cli.tasks.families.source_file import SourceFile
from gapo_cli.tasks.sets.splits import without_repeats

SPLITS = ("train", "dev", "eval")
GENERATOR_VERSION = 2
"""Raised with every change that makes other tasks of the same library, so that prepared sets are built again."""
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "encodings", "pydoc_data",
             "__pycache__"}  # fmt: skip
_MACHINES_OWN = "_sysconfigdata"  # so begins the file that records how this Python was compiled, another one on each machine
_FILE_BYTES = (1_500, 300_000)  # smaller files hold no two like places; larger ones are tables
_MAX_DISTANCE = 400  # lines between a change and the next: farther apart they are hardly one edit


@dataclass(frozen=True)
class StandardLibrary:
    """`families`: names of edit families (None: all). `tasks_per_file`: at most, for each file and family.
    `max_region`: characters of region and of target. `context_before`, `context_after`: lines around the region.
    `shares`: of the top-level packages, for train, dev and eval. `workers` 0: one a core. `root`: another folder of
    Python packages to read instead of this Python's library."""

    seed: int = 0
    families: tuple[str, ...] | None = None
    tasks_per_file: int = 4
    max_region: int = 100
    context_before: int = 2
    context_after: int = 1
    shares: tuple[float, float, float] = (0.75, 0.05, 0.2)
    workers: int = 0
    root: str | None = None

    def __post_init__(self) -> None:
        known = all_families()
        for name in self.families or ():
            if name not in known:
                raise UserError(f"data.source.families: no family '{name}'; there are {', '.join(known)}")
        if self.tasks_per_file < 1:
            raise UserError(f"data.source.tasks_per_file={self.tasks_per_file}: need at least 1")
        if abs(sum(self.shares) - 1) > 1e-9 or min(self.shares) < 0:
            raise UserError(f"data.source.shares={list(self.shares)}: need three shares that add up to 1")

    def fingerprint(self) -> Mapping[str, Any]:
        settings = asdict(self)
        settings.pop("workers")  # it changes the time, not the tasks
        settings["families"] = list(self.families or all_families())
        return {"source": "stdlib", "generator": GENERATOR_VERSION, "python": platform.python_version(), "implementation": platform.python_implementation(),
                **settings}  # fmt: skip

    def build(self, progress: Progress = no_progress) -> TaskSet:
        """Raises DataError where this Python has no library source."""
        root = Path(self.root or sysconfig.get_paths()["stdlib"])
        paths = list(_library_files(root))
        if not paths:
            raise DataError(
                f"{root}: holds no Python source; name a folder of packages with data.source.root or use data=jsonl"
            )
        tasks: list[EditTask] = []
        unreadable = 0
        work = partial(tasks_of_file, root, source=self)
        results = map_in_processes(work, paths, self.workers or usable_cores(), chunk=8)
        for done, found in enumerate(results, start=1):
            progress("reading the standard library", done, len(paths))
            if found is None:
                unreadable += 1
            else:
                tasks.extend(found)
        splits, dropped = without_repeats({name: [task for task in tasks if task.source.split == name] for name in SPLITS})
        shuffled = {}
        for name, kept in splits.items():
            rows = list(kept)
            random.Random(f"{self.seed}/{name}").shuffle(rows)
            shuffled[name] = tuple(rows)
        report = {"files": len(paths), "unreadable_files": unreadable, "made": len(tasks), "dropped": dict(dropped)}
        return TaskSet(shuffled, report)


def _library_files(root: Path) -> Iterator[str]:
    """Paths relative to `root`, sorted."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in _LEFT_OUT and not name.startswith("config-"))
        for name in sorted(names):
            path = Path(folder, name)
            if (
                name.endswith(".py")
                and not name.startswith(_MACHINES_OWN)
                and _FILE_BYTES[0] < path.stat().st_size < _FILE_BYTES[1]
            ):
                yield path.relative_to(root).as_posix()


def split_of(path: str, shares: tuple[float, float, float]) -> str:
    """The split of a file's whole top-level package, by the hash of its name: the same on every machine."""
    top = path.split("/")[0].removesuffix(".py").lstrip("_")  # _pydatetime and datetime, _collections_abc and collections
    position = int(hashlib.sha256(top.split("_")[0].encode()).hexdigest()[:8], 16) / 2**32
    if position < shares[0]:
        return "train"
    return "dev" if position < shares[0] + shares[1] else "eval"


def tasks_of_file(root: Path, path: str, source: StandardLibrary) -> list[EditTask] | None:
    """Up to `tasks_per_file` tasks a family, or None where the file cannot be read as Python."""
    try:
        with tokenize.open(root / path) as stream:
            file = SourceFile.parse(path, stream.read())
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, OSError):
        return None
    split = split_of(path, source.shares)
    tasks: list[EditTask] = []
    known = all_families()
    for name in source.families or known:
        # one generator a file and family: a family added or left out leaves the others' tasks as they are
        generator = random.Random(f"{source.seed}/{path}/{name}")
        change_sets = [found for found in known[name](file, generator) if len(found) > 1]
        made: list[EditTask] = []
        for _ in range(source.tasks_per_file * 3 if change_sets else 0):
            task = make_task(file, name, generator.choice(change_sets), generator, split, len(made), source)
            if task is not None and not task.is_noop:
                made.append(task)
            if len(made) == source.tasks_per_file:
                break
        tasks.extend(made)
    return tasks


def make_task(
    file: SourceFile,
    family: str,
    changes: ChangeSet,
    generator: random.Random,
    split: str,
    number: int,
    source: StandardLibrary,
) -> EditTask | None:
    """A task from one change set: some changes are made, the next one is the target. None where it would be too long."""
    order = sorted(changes)
    position = generator.randrange(1, len(order))
    line = order[position]
    shown = order[max(0, position - generator.randint(1, 2)) : position]
    if line - shown[-1] > _MAX_DISTANCE:
        return None
    made = set(order[:position])

    def now(place: int) -> str:
        return changes[place][place in made] if place in changes else file.lines[place]

    first = last = line
    for _ in range(generator.choice((0, 0, 1, 1, 2))):
        if file.is_usable(first - 1) and first - 1 not in shown:
            first -= 1
    for _ in range(generator.choice((0, 0, 1, 1, 2))):
        if file.is_usable(last + 1):
            last += 1
    region = "".join(now(place) + "\n" for place in range(first, last + 1))
    target = "".join((changes[place][1] if place in changes else file.lines[place]) + "\n" for place in range(first, last + 1))
    if max(len(region), len(target)) > source.max_region:
        return None
    above = first
    while first - above < source.context_before and file.is_usable(above - 1):
        above -= 1
    below = last
    while below - last < source.context_after and file.is_usable(below + 1):
        below += 1
    before = "".join(now(place) + "\n" for place in range(above, first))
    after = "".join(now(place) + "\n" for place in range(last + 1, below + 1))
    ahead = "".join(now(place) + "\n" for place in range(first, line))
    cursor = len(before) + len(ahead) + len(now(line)) - len(now(line).lstrip())
    return EditTask(
        id=f"stdlib/{file.path}/{family}/{number}",
        source=Source("stdlib", split, revision=platform.python_version(), licence="PSF-2.0"),
        language="python",
        path=file.path,
        excerpt=before + region + after,
        editable=(len(before), len(before) + len(region)),
        target=target,
        cursor=(cursor, cursor),
        at_file_start=above == 0,
        history=tuple(HistoryEvent("edit", file.path, hunk(place + 1, *changes[place])) for place in shown),
        labels={"family": family},
    )


def hunk(line: int, before: str, after: str) -> str:
    """A unified diff's hunk for the lines from `line` (from 1) on; lines that both texts begin or end with are context."""
    old, new = before.split("\n"), after.split("\n")
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    rows = [f"@@ -{line},{len(old)} +{line},{len(new)} @@"]
    rows += [f" {text}" for text in old[:head]]
    rows += [f"-{text}" for text in old[head : len(old) - tail]]
    rows += [f"+{text}" for text in new[head : len(new) - tail]]
    rows += [f" {text}" for text in old[len(old) - tail :]]
    return "\n".join(rows) + "\n"
