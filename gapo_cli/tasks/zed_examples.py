"""data=zed: example files of Zed's edit-prediction tool, .md, .json or .jsonl.

Each example is a task in the excerpt that its file holds; with `repos`, a folder with clones, in the whole file at the
example's revision, with the uncommitted diff and the edit history made in it. Several expected patches are several right
answers; none, or empty ones, mean that nothing should be predicted.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapo_cli.config.checks import one_of, require
from gapo_cli.errors import DataError
from gapo_cli.interfaces import Progress
from gapo_cli.records import EditTask, TaskSet
from gapo_cli.storage.files import file_hash
from gapo_cli.tasks.gathered import Gathered
from gapo_cli.tasks.sets.store import split_name_error
from gapo_cli.tasks.zed.clones import Clones
from gapo_cli.tasks.zed.example import Example
from gapo_cli.tasks.zed.markdown import is_example, read_markdown
from gapo_cli.tasks.zed.reading import LEFT_OUT, read_task

ENDINGS = (".md", ".json", ".jsonl")
READER_VERSION = 3
"""Raised with every change that makes other tasks of the same files, so that prepared sets are built again."""
SKIPPED_SHOWN = 20
MISSING = "missing"
"""Stands for the commit of a revision, or of a repository, that no clone has."""
Found = tuple[str, int, Callable[[], Example]]
"""Where an example stands, its number in its file from 0, and what reads it, or raises DataError."""


@dataclass(frozen=True)
class ZedExamples:
    """`path`: a file or a folder, whose folders are looked into. `repos`: a folder with clones of the repositories (None:
    the excerpts in the files are all there is). `split`: of examples that name none. `region_tokens`: the region's size
    around the cursor, a token being three bytes; what the right answers change is always in it. `on_error`: what an example
    that is no task does, stop or skip."""

    path: str
    repos: str | None = None
    split: str = "eval"
    region_tokens: int = 350
    on_error: str = "stop"

    def __post_init__(self) -> None:
        one_of("data.on_error", self.on_error, ("stop", "skip"))
        require(self.region_tokens > 0, f"data.source.region_tokens={self.region_tokens}: need at least 1")
        wrong = split_name_error(self.split)
        require(wrong is None, f"data.source.split={self.split}: {wrong}")
        require(self.repos is None or Path(self.repos).expanduser().is_dir(), f"data.repos={self.repos}: is not a folder")

    def files(self) -> list[Path]:
        """Raises DataError where there is nothing to read."""
        path = Path(self.path).expanduser()
        if path.is_file() and path.suffix in ENDINGS:
            return [path]
        found = [one for one in sorted(path.rglob("*")) if one.suffix in ENDINGS and one.is_file()] if path.is_dir() else []
        if not found:
            what = (
                "no .md, .json or .jsonl file in this folder"
                if path.is_dir()
                else "need a .md, .json or .jsonl file or a folder"
            )
            raise DataError(f"data.path={self.path}: {what}")
        return found

    def fingerprint(self) -> Mapping[str, Any]:
        files = self.files()
        names = {self._relative(path): file_hash(path) for path in files}
        settings = {"repos": self.repos, "split": self.split, "region_tokens": self.region_tokens, "on_error": self.on_error}
        commits = {"commits": self._commits(files)} if self.repos else {}
        return {"source": "zed", "reader": READER_VERSION, "files": names, **settings, **commits}

    def build(self, progress: Progress) -> TaskSet:
        """Raises DataError naming file and reason for an example that is no task, unless such examples are skipped."""
        files = self.files()
        gathered = Gathered(self.on_error, "name '{id}' was used before, by {place}")
        passed_over = 0
        with self._clones() as clones:
            for done, path in enumerate(files):
                progress("reading examples", done, len(files))
                found = _examples(path, among_others=len(files) > 1)
                passed_over += found is None
                for place, row, read in found or ():
                    gathered.add(place, lambda read=read, path=path, row=row: self.task(read(), path, row, clones))
        splits, skipped = gathered.splits, gathered.skipped
        progress("reading examples", len(files), len(files))
        notes = [f"passed over {passed_over} .md files without a section for the cursor"] if passed_over else []
        if skipped:
            notes.append(f"skipped {len(skipped)} examples (data.on_error=skip); the first: {skipped[0]}")
        cut = sum(LEFT_OUT in (task.raw or {}) for tasks in splits.values() for task in tasks)
        if cut:
            notes.append(f"{cut} examples have patches that edit other files too: the part in the cursor's file is the task")
        report = {"files": len(files) - passed_over, "skipped": len(skipped), "skipped_rows": skipped[:SKIPPED_SHOWN]}
        return TaskSet({split: tuple(tasks) for split, tasks in splits.items()}, {**report, "notes": notes})

    def task(self, example: Example, path: Path, row: int, clones: Clones | None) -> EditTask:
        """Raises DataError with the reason."""
        read_file = None
        if clones is not None and not example.ours:
            read_file = clones.files(example.repository_url, example.revision)
        name = self._relative(path).removesuffix(path.suffix) + (f"-{row}" if path.suffix == ".jsonl" else "")
        task = read_task(example, name, self.split, row, self.region_tokens, read_file)
        if wrong := split_name_error(task.source.split):
            raise DataError(f"its split '{task.source.split}': {wrong}")
        return task

    def _relative(self, path: Path) -> str:
        """The file's place under `path`; the name of the one file alone."""
        folder = Path(self.path).expanduser()
        return path.relative_to(folder).as_posix() if folder.is_dir() else path.name

    def _clones(self) -> contextlib.AbstractContextManager[Clones | None]:
        return Clones(Path(self.repos).expanduser()) if self.repos else contextlib.nullcontext()

    def _commits(self, files: Sequence[Path]) -> dict[str, str]:
        """What each example's revision stands for in the clones as they are now, `MISSING` where they lack it: a clone that is
        there later, or a branch that has moved, makes other tasks of the same files."""
        commits: dict[str, str] = {}
        with self._clones() as clones:
            for path in files:
                for _, _, read in _examples(path, among_others=len(files) > 1) or ():
                    with contextlib.suppress(DataError):  # `build` says what is wrong with it
                        example = read()
                        name = f"{example.repository_url} {example.revision}"
                        if not example.ours and name not in commits:
                            commits[name] = MISSING
                            commits[name] = clones.commit(example.repository_url, example.revision)
        return commits


def _examples(path: Path, among_others: bool) -> list[Found] | None:
    """The examples of a file; None for a Markdown file among others that has no section for the cursor."""
    try:
        text = path.read_bytes().decode("utf-8")  # line ends are content: nothing is translated
    except UnicodeDecodeError:
        return [(str(path), 0, _not_text)]
    if path.suffix == ".md":
        return None if among_others and not is_example(text) else [(str(path), 0, lambda: read_markdown(text))]
    if path.suffix == ".json":
        return [(str(path), 0, lambda: Example.from_json(_json(text)))]
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [
        (f"{path}:{number}", row, lambda line=line: Example.from_json(_json(line))) for row, (number, line) in enumerate(lines)
    ]


def _not_text() -> Example:
    raise DataError("not UTF-8")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error
