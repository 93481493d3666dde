"""The rewards of saved rollouts as arrays: of one parquet file, or of a run's folder, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gapo_cli.errors import DataError
from gapo_cli.runs.group_files import GroupFile
from gapo_cli.runs.layout import ROLLOUT_FILE, ROLLOUTS

NUMBERS = ("length", "reward", "advantage")
COLUMNS = ("step", "group", "completion", "task_id", "dropped", *NUMBERS)


@dataclass(frozen=True)
class SavedRewards:
    """P groups of up to N completions. `rewards` (P, N), NaN = missing or not there; `lengths` (P, N) tokens; `saved` (P, N) the
    advantages that stand in the file; `steps`, `dropped` (P,), `tasks` P ids."""

    name: str
    rewards: np.ndarray
    lengths: np.ndarray
    saved: np.ndarray
    steps: np.ndarray
    tasks: tuple[str, ...]
    dropped: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(P,) rewards that are there."""
        return np.sum(~np.isnan(self.rewards), axis=1)

    def only(self, chosen: np.ndarray) -> SavedRewards:
        """The groups at the places, or under the mask, `chosen`."""
        places = np.arange(len(self.rewards))[chosen]
        return SavedRewards(
            self.name,
            self.rewards[places],
            self.lengths[places],
            self.saved[places],
            self.steps[places],
            tuple(self.tasks[place] for place in places),
            self.dropped[places],
        )


def read_saved(path: Path) -> SavedRewards:
    """Of a rollouts.parquet, a run's folder (its rollouts.parquet, or all of its rollouts/) or one step's file. Raises DataError
    for a path that holds none, and for a file that is cut or holds something else."""
    files = rollout_files(path)
    columns = [read_columns(file) for file in files]
    return as_groups(str(path), {name: np.concatenate([one[name] for one in columns]) for name in columns[0]})


def rollout_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / ROLLOUT_FILE).is_file():
        return [path / ROLLOUT_FILE]
    found = sorted((path / ROLLOUTS).glob("step-*.parquet"))
    if not found:
        missing = "no such file or folder" if not path.exists() else "holds no rollouts"
        raise DataError(f"{path}: {missing}; name a rollouts.parquet, or a folder that gapo rollout or gapo train wrote")
    return found


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Column name → one value a completion. Raises DataError."""
    with GroupFile(path) as file:
        parts = [file.columns(number, COLUMNS) for number in range(file.row_groups)]
    columns = {name: np.concatenate([part[name].to_numpy() for part in parts]) if parts else np.empty(0) for name in COLUMNS}
    return columns | {name: columns[name].astype(np.float64) for name in NUMBERS}


def as_groups(name: str, columns: Mapping[str, np.ndarray]) -> SavedRewards:
    """One value a completion → groups in the order of step and group. Raises DataError where there is no completion."""
    if not len(columns["step"]):
        raise DataError(f"{name}: holds no completion; sample some with gapo rollout")
    order = np.lexsort((columns["completion"], columns["group"], columns["step"]))
    rows = {key: values[order] for key, values in columns.items()}
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(rows["step"]) != 0) | (np.diff(rows["group"]) != 0)
    starts = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    place = np.arange(len(order)) - starts[group]

    def spread(values: np.ndarray) -> np.ndarray:
        grid = np.full((len(starts), place.max() + 1), np.nan)
        grid[group, place] = values
        return grid

    return SavedRewards(
        name,
        spread(rows["reward"]),
        spread(rows["length"]),
        spread(rows["advantage"]),
        rows["step"][starts].astype(np.int64),
        tuple(str(one) for one in rows["task_id"][starts]),
        rows["dropped"][starts].astype(bool),
    )


def each_once(paths: Sequence[Path]) -> list[Path]:
    """The paths in their order without those that lead to the same rollouts again: a folder, its rollouts.parquet, a link."""
    places: dict[Path, Path] = {}
    for path in paths:
        whole = path / ROLLOUT_FILE
        places.setdefault((whole if whole.is_file() else path).resolve(), path)
    return list(places.values())


def names_of(paths: Sequence[Path]) -> list[str]:
    """As few of the last parts of the paths as tell them apart; a run's file goes by its run."""
    from gapo_cli.runs.run_data import short_names

    return short_names([path.parent if path.name == ROLLOUT_FILE else path for path in paths])
