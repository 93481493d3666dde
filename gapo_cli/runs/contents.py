"""What a run's folder holds that another run with the same settings repeats bit for bit, and where two of them differ.

Left out: the command, the machine, clocks, and the page that is made from the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapo_cli.runs.layout import (
    CHECKPOINT_MANIFEST,
    CONFIG,
    ENVIRONMENT,
    HYDRA,
    INPUTS,
    METRICS,
    OUTCOME,
    REPORT,
    RERUN,
    STATE_VALUES,
    SUPERVISED,
)
from gapo_cli.runs.run_files import repeatable
from gapo_cli.storage.files import file_hash, read_jsonl
from gapo_cli.storage.locks import LOCK

NOT_REPEATED = (
    HYDRA, LOCK, CONFIG, ENVIRONMENT, INPUTS, OUTCOME, REPORT, RERUN,
)  # fmt: skip
VALUES_NOT_REPEATED = ("seconds", "cpu_seconds", "settings")


def contents_of(run_dir: Path) -> dict[str, Any]:
    """Path in the folder → the rows of the metrics, the values of a state without their clocks, a file's SHA-256."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in run_dir.rglob("*") if path.is_file()):
        name = path.relative_to(run_dir).as_posix()
        if name.split("/")[0] in NOT_REPEATED:
            continue
        if name == METRICS:
            found[name] = [as_text(repeatable(row)) for _, row in read_jsonl(path)]
        elif path.name in (STATE_VALUES, SUPERVISED):
            values = json.loads(path.read_text(encoding="utf-8"))
            found[name] = as_text({key: value for key, value in values.items() if key not in VALUES_NOT_REPEATED})
        elif path.name == CHECKPOINT_MANIFEST:  # it has the hash of the state with its clock
            found[name] = sorted(json.loads(path.read_text(encoding="utf-8"))["files"])
        else:
            found[name] = file_hash(path)
    return found


def as_text(values: Mapping[str, Any]) -> str:
    """JSON, in which NaN equals itself and floats keep every bit."""
    return json.dumps(values, sort_keys=True)


def differences(first: Path, second: Path) -> list[str]:
    """A sentence for each thing that two runs' folders do not have alike; none where all is equal."""
    ours, theirs = contents_of(first), contents_of(second)
    said = []
    for name in sorted({*ours, *theirs}):
        if name not in ours or name not in theirs:
            said.append(f"{name} is only in {first if name in ours else second}")
        elif ours[name] != theirs[name]:
            said.append(_difference(name, ours[name], theirs[name], first, second))
    return [sentence for sentence in said if sentence]


def _difference(name: str, ours: Any, theirs: Any, first: Path, second: Path) -> str:
    if name == METRICS:
        return _of_metrics(ours, theirs)
    if name.endswith(".parquet"):
        columns = different_columns(first / name, second / name)
        # the same rows, written by another version of the library
        return f"{name}: {_some(columns)} differ" if columns else ""
    return f"{name} differs"


def _of_metrics(ours: Sequence[str], theirs: Sequence[str]) -> str:
    for mine, other in zip(ours, theirs, strict=False):
        if mine != other:
            row, second = json.loads(mine), json.loads(other)
            keys = [key for key in {**row, **second} if as_text({key: row.get(key)}) != as_text({key: second.get(key)})]
            return f"{METRICS}: step {row['step']}: {_some([f'{key} {row.get(key)} and {second.get(key)}' for key in keys])}"
    return f"{METRICS}: {len(ours)} and {len(theirs)} rows"


def different_columns(first: Path, second: Path) -> list[str]:
    """The columns that two parquet files do not have alike."""
    import pyarrow.compute
    import pyarrow.parquet as pq

    ours, theirs = pq.read_table(first), pq.read_table(second)
    names = list(dict.fromkeys([*ours.column_names, *theirs.column_names]))

    def differ(name: str) -> bool:
        if name not in ours.column_names or name not in theirs.column_names:
            return True
        one, other = ours[name], theirs[name]
        if one.type != other.type or len(one) != len(other):
            return True
        if pyarrow.types.is_floating(one.type):  # NaN, a missing reward, equals itself
            one, other = (pyarrow.compute.fill_null(column, 0).to_numpy().tobytes() for column in (one, other))
            return one != other
        return not one.equals(other)

    return [name for name in names if differ(name)]


def _some(words: Sequence[str], shown: int = 3) -> str:
    more = len(words) - shown
    return ", ".join(words[:shown]) + (f" and {more} more" if more > 0 else "")
