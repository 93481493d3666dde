"""Recorded groups by their task: an index over the rollout files of a run, one row group of which is in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gapo_cli.errors import DataError
from gapo_cli.runs.group_files import GroupFile, StoredGroup
from gapo_cli.runs.layout import ROLLOUT_FILE, ROLLOUTS, steps_in


def rollout_files(path: Path) -> list[Path]:
    """The rollout files that a path stands for, the oldest first: itself, rollouts.parquet of a `gapo rollout`, or one file
    a step of a `gapo train`. Raises DataError where there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; name a rollouts parquet, or the folder of a run that has one")
    if (path / ROLLOUT_FILE).is_file():
        return [path / ROLLOUT_FILE]
    files = list(steps_in(path / ROLLOUTS, ".parquet").values())
    if not files:
        raise DataError(f"{path}: has neither {ROLLOUT_FILE} nor {ROLLOUTS}/; name a run of gapo rollout or gapo train")
    return files


@dataclass
class RecordedGroups:
    """The groups of rollout files, in the order of their tasks' first rows. Of a task that was sampled more than once, the
    last group counts: in a training run that of its newest policy. Raises DataError as GroupFile."""

    path: Path
    places: dict[str, tuple[Path, int]] = field(default_factory=dict)
    _in_memory: tuple[tuple[Path, int], dict[str, StoredGroup]] | None = None

    def __post_init__(self) -> None:
        for path in rollout_files(self.path):
            with GroupFile(path) as file:
                for number in range(file.row_groups):
                    self.places |= dict.fromkeys(file.task_ids(number), (path, number))

    def __getitem__(self, task_id: str) -> StoredGroup:
        """Raises DataError for a task that is not there."""
        if task_id not in self.places:
            raise DataError(f"{self.path}: has no answers to task {task_id}")
        place = self.places[task_id]
        if self._in_memory is None or self._in_memory[0] != place:
            path, number = place
            with GroupFile(path) as file:
                groups = {stored.group.task.id: stored for stored in file.groups(number)}
            self._in_memory = (place, groups)
        return self._in_memory[1][task_id]
