"""Your own tasks from JSON-lines files, one `EditTask` a line (the fields of `gapo_cli.records.EditTask`).

A folder: each `NAME.jsonl` in it is the split NAME (train.jsonl, dev.jsonl, eval.jsonl). One file: a row belongs to the
split that its `source.split` names, else to "eval". `id` and `source` may be left out; they are then the file's name
and the line. Without `editable`, all of the excerpt is the region.

Rows of another shape are read through a mapping: `fields` says which of the row's fields is which of EditTask's, `values`
what is the same for every row (conf/data/editeval.yaml is one). What the mapping does not name is kept under `raw`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError, UserError, did_you_mean
from gapo_cli.files import read_jsonl
from gapo_cli.interfaces import Progress
from gapo_cli.records import EditTask, TaskSet
from gapo_cli.tasks.store import file_hash

DEFAULT_SPLIT = "eval"
TASK_FIELDS = tuple(field.name for field in fields(EditTask))
NEEDED_FIELDS = ("excerpt", "target")


@dataclass(frozen=True)
class JsonLines:
    """`path`: a JSON-lines file, or a folder with one such file a split. `fields`: EditTask's field → the row's field
    (None: the rows are EditTasks). `values`: EditTask's field → its value where a row has none. `split`: all rows belong to
    this one."""

    path: str
    fields: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        for setting, mapping in (("fields", self.fields), ("values", self.values)):
            for name in mapping or ():
                if name not in TASK_FIELDS:
                    near = did_you_mean(str(name), TASK_FIELDS) or f"there are {', '.join(TASK_FIELDS)}"
                    raise UserError(f"data.source.{setting}.{name}: an edit task has no such field; {near}")

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
        settings = {"fields": self.fields, "values": self.values, "split": self.split}
        given = {name: value for name, value in settings.items() if value is not None}
        return {"source": "jsonl", "files": {path.name: file_hash(path) for path in self.files()}, **given}

    def build(self, progress: Progress) -> TaskSet:
        files = self.files()
        by_file_name = self.split is None and Path(self.path).expanduser().is_dir()
        splits: dict[str, list[EditTask]] = {path.stem: [] for path in files} if by_file_name else {}
        places: dict[str, str] = {}
        for done, path in enumerate(files):
            progress(f"reading {path.name}", done, len(files))
            for place, task in self.read_tasks(path, path.stem if by_file_name else self.split):
                if task.id in places:
                    raise DataError(f"{place}: id '{task.id}' was used before, at {places[task.id]}")
                places[task.id] = place
                splits.setdefault(task.source.split, []).append(task)
        progress("reading", len(files), len(files))
        return TaskSet(
            splits={split: tuple(tasks) for split, tasks in splits.items()},
            report={"files": [str(path) for path in files]},
        )

    def read_tasks(self, path: Path, split: str | None) -> Iterator[tuple[str, EditTask]]:
        """Yields ("FILE:LINE", task). `split` None: as the row says. Raises DataError naming file and line."""
        for number, row in read_jsonl(path):
            place = f"{path}:{number}"
            try:
                row = {**(self.values or {}), **(row if self.fields is None else mapped(row, self.fields))}
                source = row.get("source") or {}
                if not isinstance(source, Mapping):
                    raise DataError(f"field 'source' must be an object, got {type(source).__name__}")
                source = {"dataset": path.stem, "row": number, **source, "split": split or source.get("split") or DEFAULT_SPLIT}
                if isinstance(row.get("excerpt"), str):
                    row = {"editable": (0, len(row["excerpt"])), **row}
                yield place, EditTask.from_dict({"id": f"{path.stem}-{number}", **row, "source": source})
            except DataError as error:
                raise DataError(f"{place}: {error}") from error


def mapped(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """A row as EditTask's fields. Raises DataError where it lacks a field that every task needs."""
    for name in NEEDED_FIELDS:
        if name in fields and fields[name] not in row:
            raise DataError(f"field '{fields[name]}' is missing; data.source.fields takes {name} from it")
    task = {name: row[field] for name, field in fields.items() if row.get(field) is not None}
    rest = {field: value for field, value in row.items() if field not in fields.values()}
    return task | ({"raw": rest} if rest else {})
