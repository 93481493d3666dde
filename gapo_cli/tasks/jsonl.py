"""Your own tasks from files of rows, one `EditTask` a row (the fields of `gapo_cli.records.EditTask`): JSON lines, gzip of them,
parquet, or one JSON array.

A folder: each `NAME.jsonl` (.jsonl.gz, .parquet) in it is the split NAME (train, dev, eval). One file: a row belongs to the
split that its `source.split` names, else to "eval". `id` and `source` may be left out; they are then the file's name
and the line. Without `editable`, all of the excerpt is the region.

Rows of another shape are read through a mapping: `fields` says which of the row's fields is which of EditTask's, `values`
what is the same for every row (conf/data/editeval.yaml is one). What the mapping does not name is kept under `raw`.

A row that cannot be a task stops the reading, or with `on_error` skip is left out, counted and told.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gapo_cli.config.checks import is_integer, one_of
from gapo_cli.errors import DataError, UserError, did_you_mean
from gapo_cli.interfaces import Progress
from gapo_cli.records import EditTask, TaskSet
from gapo_cli.storage.files import file_hash
from gapo_cli.tasks.gathered import Gathered
from gapo_cli.tasks.offsets import UNITS, code_points
from gapo_cli.tasks.row_files import hidden_files, read_rows, row_of, split_files, split_name
from gapo_cli.tasks.row_schema import check_row
from gapo_cli.tasks.sets.store import split_name_error

DEFAULT_SPLIT = "eval"
TASK_FIELDS = tuple(field.name for field in fields(EditTask))
NEEDED_FIELDS = ("excerpt", "target")
ROWS_BETWEEN_REPORTS = 1000
SKIPPED_SHOWN = 20


@dataclass(frozen=True)
class JsonLines:
    """`path`: a JSON-lines file, or a folder with one such file a split. `fields`: EditTask's field → the row's field
    (None: the rows are EditTasks). `values`: EditTask's field → its value where a row has none. `split`: all rows belong to
    this one. `on_error`: what a bad row does, stop or skip. `offsets`: what `editable` and `cursor` count: codepoint, utf16 (LSP,
    JavaScript) or byte (UTF-8)."""

    path: str
    fields: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None
    split: str | None = None
    on_error: str = "stop"
    offsets: str = "codepoint"

    def __post_init__(self) -> None:
        one_of("data.offsets", self.offsets, UNITS)
        one_of("data.on_error", self.on_error, ("stop", "skip"))
        for setting, mapping in (("fields", self.fields), ("values", self.values)):
            for name in mapping or ():
                if name not in TASK_FIELDS:
                    near = did_you_mean(str(name), TASK_FIELDS) or f"there are {', '.join(TASK_FIELDS)}"
                    raise UserError(f"data.source.{setting}.{name}: an edit task has no such field; {near}")

    def files(self) -> list[Path]:
        """Raises DataError where there is nothing to read."""
        path = Path(self.path).expanduser()
        if path.is_dir():
            found = split_files(path)
            if not found:
                raise DataError(
                    f"data.path={self.path}: no *.jsonl, *.jsonl.gz or *.parquet file in this folder; name them by split, as train.jsonl"
                )
            for file in found:
                if wrong := split_name_error(split_name(file)):
                    raise DataError(
                        f"{file}: a file in a folder is named by its split, here '{split_name(file)}': {wrong}; rename it"
                    )
            return found
        if not path.exists():
            raise DataError(f"data.path={self.path}: does not exist; name a JSON-lines file or a folder of them")
        if not path.is_file():  # rows are read twice: for the hash, and for the tasks
            raise DataError(f"data.path={self.path}: is a pipe or a device; write its rows into a file first")
        return [path]

    def fingerprint(self) -> Mapping[str, Any]:
        settings = {"fields": self.fields, "values": self.values, "split": self.split}
        given = {name: value for name, value in settings.items() if value is not None}
        # a set that rows were left out of is not what "stop" asks for
        given |= {} if self.on_error == "stop" else {"on_error": self.on_error}
        given |= {} if self.offsets == "codepoint" else {"offsets": self.offsets}
        return {"source": "jsonl", "files": {path.name: file_hash(path) for path in self.files()}, **given}

    def build(self, progress: Progress) -> TaskSet:
        """Raises DataError naming file, line and reason for a bad row, unless such rows are skipped."""
        files = self.files()
        by_file_name = self.split is None and Path(self.path).expanduser().is_dir()
        gathered = Gathered(self.on_error, "id '{id}' was used before, at {place}")
        if by_file_name:
            gathered.splits.update({split_name(path): [] for path in files})
        rows = 0
        for path in files:
            for number, line in read_rows(path):
                if rows % ROWS_BETWEEN_REPORTS == 0:
                    progress("reading rows", rows, rows + ROWS_BETWEEN_REPORTS)
                rows += 1
                split = split_name(path) if by_file_name else self.split
                gathered.add(f"{path}:{number}", functools.partial(self.read_task, path, number, line, split))
        splits, skipped = gathered.splits, gathered.skipped
        progress("reading rows", rows, rows)
        report: dict[str, Any] = {"files": [str(path) for path in files], "rows": rows, "skipped": len(skipped)}
        hidden = hidden_files(Path(self.path).expanduser()) if by_file_name else []
        notes = [f"left out hidden files: {', '.join(path.name for path in hidden)}"] if hidden else []
        if skipped:
            report["skipped_rows"] = skipped[:SKIPPED_SHOWN]
            notes.append(f"skipped {len(skipped)} of {rows} rows (data.on_error=skip); the first: {skipped[0]}")
        if notes:
            report["notes"] = notes
        return TaskSet({split: tuple(tasks) for split, tasks in splits.items()}, report)

    def read_task(self, path: Path, number: int, line: Mapping[str, Any] | bytes, split: str | None) -> EditTask:
        """The task of one row. `split` None: as the row says. Raises DataError with the reason."""
        row = row_of(line)
        row = {**(self.values or {}), **(row if self.fields is None else mapped(row, self.fields))}
        source = {} if row.get("source") is None else row["source"]
        if isinstance(source, Mapping):
            row["source"] = {
                "dataset": split_name(path), "row": number, **source, "split": split or source.get("split") or DEFAULT_SPLIT,
            }  # fmt: skip
        given = frozenset(row)
        if isinstance(row.get("excerpt"), str):
            row = {"editable": (0, len(row["excerpt"])), **row}
        row = {"id": f"{split_name(path)}-{number}", **row}
        check_row(row)
        for name in ("editable", "cursor"):
            if name in given and row.get(name) is not None:
                row[name] = code_points(row["excerpt"], row[name], self.offsets, name)
        if wrong := split_name_error(row["source"]["split"]):
            raise DataError(f"field 'source.split' is '{row['source']['split']}': {wrong}")
        return EditTask.from_dict(row)


def mapped(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """A row as EditTask's fields; a whole number as id is its digits. Raises DataError where it lacks a field that every task
    needs."""
    for name in NEEDED_FIELDS:
        if name in fields and fields[name] not in row:
            raise DataError(f"field '{fields[name]}' is missing; data.source.fields takes {name} from it")
    task = {name: row[field] for name, field in fields.items() if row.get(field) is not None}
    if is_integer(task.get("id")):
        task["id"] = str(task["id"])
    rest = {field: value for field, value in row.items() if field not in fields.values()}
    return task | ({"raw": rest} if rest else {})
