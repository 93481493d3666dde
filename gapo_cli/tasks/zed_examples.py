"""data=zed: example files of Zed's edit-prediction tool, .md, .json or .jsonl.

Each example is a task in the excerpt that its file holds; with `repos`, a folder with clones, in the whole file at the
example's revision, with the uncommitted diff and the edit history made in it. Several expected patches are several right
answers; none, or empty ones, mean that nothing should be predicted.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
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
READER_VERSION = 2
"""Raised with every change that makes other tasks of the same files, so that prepared sets are built again."""
SKIPPED_SHOWN = 20


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
        folder = Path(self.path).expanduser()
        names = {str(path.relative_to(folder) if folder.is_dir() else path.name): file_hash(path) for path in self.files()}
        settings = {"repos": self.repos, "split": self.split, "region_tokens": self.region_tokens, "on_error": self.on_error}
        return {"source": "zed", "reader": READER_VERSION, "files": names, **settings}

    def build(self, progress: Progress) -> TaskSet:
        """Raises DataError naming file and reason for an example that is no task, unless such examples are skipped."""
        files = self.files()
        gathered = Gathered(self.on_error, "name '{id}' was used before, by {place}")
        passed_over = 0
        with contextlib.ExitStack() as opened:
            clones = opened.enter_context(Clones(Path(self.repos).expanduser())) if self.repos else None
            for done, path in enumerate(files):
                progress("reading examples", done, len(files))
                if path.suffix == ".md" and len(files) > 1 and not is_example(_text(path)):
                    passed_over += 1
                    continue
                for place, row, read in _examples(path):
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
        name = f"{path.stem}-{row}" if path.suffix == ".jsonl" else path.stem
        task = read_task(example, name, self.split, row, self.region_tokens, read_file)
        if wrong := split_name_error(task.source.split):
            raise DataError(f"its split '{task.source.split}': {wrong}")
        return task


def _text(path: Path) -> str:
    # line ends are content: nothing is translated
    return path.read_bytes().decode("utf-8")


def _examples(path: Path) -> Iterator[tuple[str, int, Any]]:
    """For each example of a file (its place, its number from 0, what reads it)."""
    try:
        text = _text(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8") from error
    if path.suffix == ".md":
        yield str(path), 0, lambda: read_markdown(text)
    elif path.suffix == ".json":
        yield str(path), 0, lambda: Example.from_json(_json(text))
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        for row, (number, line) in enumerate(lines):
            yield f"{path}:{number}", row, lambda line=line: Example.from_json(_json(line))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error
