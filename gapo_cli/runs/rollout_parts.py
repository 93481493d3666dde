"""The finished parts of a `gapo rollout` under way: each is a file that is whole or not there, and all become one in the end.

The same command in the same folder goes on from them. What a part holds depends on the settings and on its place alone, so
the result is the same, bit for bit, as that of a rollout that was never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.records import Group
from gapo_cli.runs.group_files import GroupFile, join_files, write_groups
from gapo_cli.runs.layout import PARTS_PLAN, ROLLOUT_FILE, ROLLOUT_PARTS
from gapo_cli.storage.files import remove_temporaries, write_json
from gapo_cli.storage.whole_folder import remove_folder


class RolloutParts:
    """The parts of the rollout in `run_dir`. `plan` (JSON-ready, flat) is what they depend on. Raises UserError where parts
    of another plan lie there."""

    def __init__(self, run_dir: Path, plan: Mapping[str, Any]) -> None:
        self.run_dir, self.folder = run_dir, run_dir / ROLLOUT_PARTS
        self.plan = json.loads(json.dumps(plan))
        self._check_plan()
        remove_temporaries(self.folder)
        self.groups: dict[int, int] = {}
        """How many groups each finished part has, by its number."""
        for path in self.folder.glob("part-*.parquet"):
            self.groups[int(path.stem.removeprefix("part-"))] = _count(path)

    def add(self, number: int, step: int, groups: Sequence[Group], prompt_text: Callable[[Group], str]) -> None:
        """Keeps the groups of a part; all parts with lower numbers must be there, since groups are numbered through."""
        if not self.groups:
            write_json(self.folder / PARTS_PLAN, self.plan)
        first = sum(count for part, count in self.groups.items() if part < number)
        write_groups(self._path(number), step, groups, prompt_text, first=first)
        self.groups[number] = len(groups)

    def join(self) -> Path:
        """Makes rollouts.parquet of the parts, in their order, and removes them."""
        path = self.run_dir / ROLLOUT_FILE
        join_files([self._path(number) for number in sorted(self.groups)], path)
        remove_folder(self.folder)
        return path

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.parquet"

    def _check_plan(self) -> None:
        path = self.folder / PARTS_PLAN
        if not path.is_file():
            return
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: is damaged; remove {self.folder} to sample from the beginning") from error
        differing = [key for key in {**before, **self.plan} if before.get(key) != self.plan.get(key)]
        if differing:
            now = ", ".join(f"{key} was {before.get(key)} and is {self.plan.get(key)}" for key in differing[:3])
            raise UserError(
                f"{self.folder}: holds parts of a rollout with other settings ({now}); give those again, or name another folder by "
                "hydra.run.dir"
            )


def _count(path: Path) -> int:
    with GroupFile(path) as file:
        return sum(len(file.task_ids(number)) for number in range(file.row_groups))
