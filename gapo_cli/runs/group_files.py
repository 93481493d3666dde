"""Groups on disk: every completion is a row of a parquet file, and `read_groups` gives back what `write_groups` wrote.

What is known once a group (its task as JSON, the prompt's token ids) stands in the row of its first completion and is null
in the others. A row group of the file holds whole groups, so a reader needs one row group in memory, not the file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gapo_cli.errors import DataError, first_line
from gapo_cli.evaluation.predictions import family_of
from gapo_cli.records import Completion, EditTask, Group
from gapo_cli.runs.group_columns import fault_of_schema, fault_of_values, task_of_infinite
from gapo_cli.storage.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

VERSION_KEY, VERSION = b"gapo.rollouts", b"1"
"""In the metadata of the file: that it holds rollouts, and which columns a reader may expect."""
ROWS_AT_ONCE = 4096
"""Completions in a row group, unless a single group has more."""
COMPONENT = "component_"
"""How the columns of a reward's components begin."""


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group with what the file says beside it: the prompt as the model read it, and whether dynamic sampling left the
    group out of the batch."""

    group: Group
    prompt: str
    dropped: bool


def write_groups(
    path: Path,
    step: int,
    groups: Sequence[Group],
    prompt_text: Callable[[Group], str],
    dropped: Sequence[bool] | None = None,
    first: int = 0,
) -> None:
    """One row a completion, group by group. `prompt_text` gives the prompt as the model read it. `dropped` marks the
    groups that dynamic sampling left out of the batch (None: none was). `first`: the number of the first group."""
    import pyarrow.parquet as pq

    dropped = dropped if dropped is not None else [False] * len(groups)
    tables = (
        _table(step, groups[start:end], prompt_text, dropped[start:end], first + start)
        for start, end in _row_groups([len(group.completions) for group in groups])
    )
    table = next(tables)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        for table in tables:
            writer.write_table(table)


def join_files(parts: Sequence[Path], path: Path) -> None:
    """Writes the groups of several files, which `write_groups` wrote, as one file; one row group is in memory at a time.
    Raises DataError for a part that cannot be read."""
    import pyarrow.parquet as pq

    with GroupFile(parts[0]) as file:
        schema = file.schema
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for part in parts:
            with GroupFile(part) as file:
                for number in range(file.row_groups):
                    writer.write_table(file.table(number))


def read_groups(path: Path, dropped: bool | None = None) -> list[Group]:
    """The groups as they were written, NaN included. `dropped`: only those that dynamic sampling left out (True), or only
    the others (False). Raises DataError for a file that is missing, cut, of another version, or holds no rollouts."""
    return list(iterate_groups(path, dropped))


def iterate_groups(path: Path, dropped: bool | None = None) -> Iterator[Group]:
    """As `read_groups`, with one row group of the file in memory at a time."""
    with GroupFile(path) as file:
        for number in range(file.row_groups):
            for stored in file.groups(number):
                if dropped is None or stored.dropped == dropped:
                    yield stored.group


class GroupFile:
    """A rollout file open for reading, as a context manager. Every method raises DataError, with one sentence, for a file
    that is missing, cut, of another version, or holds no rollouts, and for columns that are not what `write_groups` writes."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file; name a rollouts parquet of gapo rollout or gapo train") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: is no parquet file, or was cut ({first_line(error)}); name another file") from error
        version = (self._file.schema_arrow.metadata or {}).get(VERSION_KEY)
        if version != VERSION:
            self._file.close()
            kind = (
                "holds no rollouts, or those of an older gapo"
                if version is None
                else f"is of version {version.decode(errors='replace')}"
            )
            raise DataError(f"{path}: {kind}, this gapo reads version {VERSION.decode()}; make the rollouts again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    @property
    def components(self) -> list[str]:
        """The columns of the reward's components."""
        return [name for name in self.schema.names if name.startswith(COMPONENT)]

    @property
    def row_groups(self) -> int:
        return self._file.num_row_groups

    def table(self, row_group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Of a row group, all columns or some, as they are in the file."""
        try:
            return self._file.read_row_group(row_group, columns=columns)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read to its end ({first_line(error)}); was it cut?") from error

    def columns(self, row_group: int, names: Sequence[str]) -> pa.Table:
        """Columns by name, of the types that `write_groups` gives them. No reward is infinite: NaN, or no value, is a missing one."""
        needed = _schema_of([name for name in names if name in self.schema.names or name not in OPTIONAL])
        fault = fault_of_schema(self.schema, needed)
        if fault is not None:
            raise DataError(f"{self.path}: holds no rollouts: {fault}; make the rollouts again")
        table = self.table(row_group, needed.names).select(needed.names)
        fault = fault_of_values(table)
        if fault is not None:
            raise DataError(f"{self.path}: is no whole file of rollouts: {fault}; make the rollouts again")
        try:
            table = table.cast(needed)
        except ValueError as error:
            raise DataError(
                f"{self.path}: holds a number out of range ({first_line(error)}); make the rollouts again"
            ) from error
        task = task_of_infinite(table)
        if task is not None:
            raise DataError(f"{self.path}: the reward of task {task} is infinite; need numbers, or NaN for a missing reward")
        return table

    def task_ids(self, row_group: int) -> list[str]:
        """The tasks of a row group, one for each of its groups."""
        table = self.columns(row_group, ["task_id", "completion"])
        first = np.flatnonzero(table["completion"].to_numpy() == 0)
        return table["task_id"].take(first).to_pylist()

    def groups(self, row_group: int) -> list[StoredGroup]:
        """The groups of a row group, in the order in which they were written."""
        return _groups_of(self.columns(row_group, [*READ, *self.components]))


def decoded_prompt(decode: Callable[[Sequence[int]], str]) -> Callable[[Group], str]:
    """The `prompt_text` of groups whose prompts are token ids."""
    return lambda group: decode(group.prompt_token_ids)


def _row_groups(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, end) of runs of groups with at most ROWS_AT_ONCE completions together, or of a single larger group; a run
    without groups where there are none, since their file still has its columns."""
    start = rows = 0
    for place, size in enumerate(sizes):
        if rows + size > ROWS_AT_ONCE and place > start:
            yield start, place
            start, rows = place, 0
        rows += size
    yield start, len(sizes)


def _table(
    step: int, groups: Sequence[Group], prompt_text: Callable[[Group], str], dropped: Sequence[bool], first: int
) -> pa.Table:
    import pyarrow as pa

    sizes = np.array([len(group.completions) for group in groups], dtype=np.int64)
    completions = [completion for group in groups for completion in group.completions]

    def per_group(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(np.repeat(np.arange(len(groups)), sizes)))

    def once(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        spread = [row for value, size in zip(values, sizes, strict=True) for row in (value, *[None] * (size - 1))]
        return pa.array(spread, kind)

    def per_completion(arrays: Sequence[np.ndarray]) -> pa.Array:
        return pa.array(np.concatenate(arrays) if arrays else np.empty(0), pa.float64(), from_pandas=False)

    def text_of_task(name: str) -> pa.Array:
        return per_group([getattr(group.task, name) for group in groups], pa.string())

    columns = {
        "step": pa.array(np.full(len(completions), step, dtype=np.int32)),
        "group": per_group(np.arange(first, first + len(groups), dtype=np.int32), pa.int32()),
        "completion": pa.array(np.concatenate([np.arange(size, dtype=np.int32) for size in sizes] or [[]]), pa.int32()),
        "task_id": text_of_task("id"),
        "family": per_group([family_of(group.task) for group in groups], pa.string()),
        "language": text_of_task("language"),
        "path": text_of_task("path"),
        "prompt": per_group([prompt_text(group) for group in groups], pa.string()),
        "before": text_of_task("before"),
        "region_before": text_of_task("region"),
        "after": text_of_task("after"),
        "target": text_of_task("target"),
        "text": pa.array([completion.text for completion in completions], pa.string()),
        "region": pa.array([completion.region for completion in completions], pa.string()),
        "malformed": pa.array([completion.malformed for completion in completions], pa.string()),
        "finish_reason": pa.array([completion.finish_reason for completion in completions], pa.string()),
        "length": pa.array([completion.length for completion in completions], pa.int32()),
        "token_ids": pa.array([completion.token_ids for completion in completions], pa.list_(pa.int32())),
        "logprobs": pa.array([completion.logprobs for completion in completions], pa.list_(pa.float32())),
    }
    # a group that waited since before a run was resumed may lack what other settings add
    for name in dict.fromkeys(name for group in groups for name in group.components):
        missing = [np.full(len(group.completions), np.nan) for group in groups]
        columns[f"{COMPONENT}{name}"] = per_completion(
            [group.components.get(name, nothing) for group, nothing in zip(groups, missing, strict=True)]
        )
    advantages = [np.full(len(group.completions), np.nan) if group.advantages is None else group.advantages for group in groups]
    columns |= {
        "score": per_completion([group.scores for group in groups]),
        "reward": per_completion([group.rewards for group in groups]),
        "advantage": per_completion(advantages),
        "baseline": per_group([group.baseline for group in groups], pa.float64()),
        "low": per_group([group.low for group in groups], pa.float64()),
        "high": per_group([group.high for group in groups], pa.float64()),
        "dropped": per_group(list(dropped), pa.bool_()),
        "sampled_at": per_group([group.sampled_at for group in groups], pa.int32()),
        "counted": pa.array([completion.counted for completion in completions], pa.int32()),
        "cursor": pa.array([completion.cursor for completion in completions], pa.int32()),
        "prompt_token_ids": once([group.prompt_token_ids for group in groups], pa.list_(pa.int32())),
        "task": once([json.dumps(group.task.to_dict(), ensure_ascii=False) for group in groups], pa.string()),
    }
    return pa.table(columns).replace_schema_metadata({VERSION_KEY: VERSION})


@functools.cache
def _written() -> pa.Schema:
    return _table(0, [], str, [], 0).schema


def _schema_of(names: Sequence[str]) -> pa.Schema:
    """The columns `names` as they are written."""
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.float64()) if name.startswith(COMPONENT) else _written().field(name) for name in names])


OF_COMPLETION = ("token_ids", "logprobs", "text", "finish_reason", "region", "malformed", "counted", "cursor")
"""The fields of a Completion, each a column."""
OPTIONAL = ("cursor",)
"""Columns that files of before do not have."""
OF_GROUP = ("task", "prompt_token_ids", "baseline", "low", "high", "sampled_at", "prompt", "dropped")
READ = ("task_id", "completion", *OF_COMPLETION, *OF_GROUP, "score", "reward", "advantage")


def _groups_of(table: pa.Table) -> list[StoredGroup]:
    starts = np.flatnonzero(table["completion"].to_numpy() == 0)
    ends = np.append(starts, len(table))[1:]
    columns = [table[name].to_pylist() if name in table.column_names else [None] * len(table) for name in OF_COMPLETION]
    rows = [
        Completion(tuple(token_ids), tuple(logprobs), *others) for token_ids, logprobs, *others in zip(*columns, strict=True)
    ]
    per_group = table.select(OF_GROUP).take(starts).to_pylist()
    components = {
        name.removeprefix(COMPONENT): table[name].to_numpy() for name in table.column_names if name.startswith(COMPONENT)
    }
    scores, rewards, advantages = (table[name].to_numpy() for name in ("score", "reward", "advantage"))
    found = []
    for start, end, shared in zip(starts, ends, per_group, strict=True):
        group = Group(
            task=EditTask.from_dict(json.loads(shared["task"])),
            prompt_token_ids=tuple(shared["prompt_token_ids"]),
            completions=tuple(rows[start:end]),
            components={name: values[start:end] for name, values in components.items()},
            scores=scores[start:end],
            rewards=rewards[start:end],
            # an estimator gives no NaN: those are of a group that has no advantages yet
            advantages=None if np.isnan(advantages[start:end]).all() else advantages[start:end],
            **{name: shared[name] for name in ("baseline", "low", "high", "sampled_at")},
        )
        found.append(StoredGroup(group, shared["prompt"], shared["dropped"]))
    return found
