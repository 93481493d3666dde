"""Your own tasks from JSON-lines files, one `EditTask` a line (the fields of `gapo_cli.records.EditTask`).

A folder: each `NAME.jsonl` in it is the split NAME (train.jsonl, dev.jsonl, eval.jsonl). One file: a row belongs to the
split that its `source.split` names, else to "eval". `id` and `source` may be left out; they are then the file's name
and the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.files import read_jsonl
from gapo_cli.interfaces import Progress
from gapo_cli.records import EditTask, TaskSet
from gapo_cli.tasks.store import file_hash

DEFAULT_SPLIT = "eval"


@dataclass(frozen=True)
class JsonLines:
    """`path`: a JSON-lines file, or a folder with one such file a split."""

    path: str

    def files(self) -> list[Path]:
        """Raises DataError where there is nothing to read."""
        path = Path(self.path).expanduser()
        if path.is_dir():
            found = sorted(path.glob("*.jsonl"))
            if not found:
                raise DataError(f"data.path={self.path}: no *.jsonl file in this folder; name them by split, as train.jsonl")
            return found
        if not path.is_file():
            raise DataError(f"data.path={self.path}: does not exist; name a JSON-lines file or a folder of them")
        return [path]

    def fingerprint(self) -> Mapping[str, Any]:
        return {"source": "jsonl", "files": {path.name: file_hash(path) for path in self.files()}}

    def build(self, progress: Progress) -> TaskSet:
        files = self.files()
        by_file_name = Path(self.path).expanduser().is_dir()
        splits: dict[str, list[EditTask]] = {path.stem: [] for path in files} if by_file_name else {}
        places: dict[str, str] = {}
        for done, path in enumerate(files):
            progress(f"reading {path.name}", done, len(files))
            for place, task in read_tasks(path, path.stem if by_file_name else None):
                if task.id in places:
                    raise DataError(f"{place}: id '{task.id}' was used before, at {places[task.id]}")
                places[task.id] = place
                splits.setdefault(task.source.split, []).append(task)
        progress("reading", len(files), len(files))
        return TaskSet(
            splits={split: tuple(tasks) for split, tasks in splits.items()},
            report={"files": [str(path) for path in files]},
        )


def read_tasks(path: Path, split: str | None) -> Iterator[tuple[str, EditTask]]:
    """Yields ("FILE:LINE", task). `split` None: as the row says. Raises DataError naming file and line."""
    for number, row in read_jsonl(path):
        place = f"{path}:{number}"
        source = row.get("source") or {}
        if not isinstance(source, dict):
            raise DataError(f"{place}: field 'source' must be an object, got {type(source).__name__}")
        source = {"dataset": path.stem, "row": number, **source, "split": split or source.get("split") or DEFAULT_SPLIT}
        try:
            yield place, EditTask.from_dict({"id": f"{path.stem}-{number}", **row, "source": source})
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
