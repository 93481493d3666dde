"""checkpoints/best: the best model so far, and the ones that older checkpoints know as the best.

When a better model comes, the one before steps aside as best-00010 and waits there as long as a checkpoint is kept that
was made when it was the best, so that a run that is taken back to that checkpoint has its best model again.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gapo_cli.errors import CheckpointError
from gapo_cli.models.load import save_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.runs.layout import BEST, BEST_RECORD, CHECKPOINT_MANIFEST
from gapo_cli.storage.whole_folder import remove_folder
from gapo_cli.training.checkpoints.folder import checkpoint_folder
from gapo_cli.training.checkpoints.manifest import verify, write_manifest


class BestModel:
    """The best model of one run; `checkpoints` is the folder that it lies in."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self.folder = checkpoints / BEST

    def save(self, policy: LoadedModel, record: dict[str, Any], otherwise: str) -> Path:
        """The model as it is becomes the best one. `record`: what best.json says, its `step` among it. `otherwise`: what is
        said to remain where it cannot be written. Raises CheckpointError."""
        before = self.step()
        with checkpoint_folder(self.folder, otherwise, previous=None if before is None else self.waiting(before)) as folder:
            save_model(policy, folder)
            (folder / BEST_RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            write_manifest(folder, {"step": record["step"]})
        return self.folder

    def step(self) -> int | None:
        """The step of the model that lies in best/; None where there is none, or one without its record."""
        try:
            return int(json.loads((self.folder / BEST_RECORD).read_text(encoding="utf-8"))["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def waiting(self, step: int) -> Path:
        return self.checkpoints / f"{BEST}-{step:05d}"

    def keep_waiting(self, steps: Collection[int]) -> None:
        """Removes the waiting models of other steps."""
        kept = {self.waiting(step) for step in steps}
        for path in self.checkpoints.glob(f"{BEST}-*"):
            own = path.name.removeprefix(f"{BEST}-").isdecimal() and (path / CHECKPOINT_MANIFEST).is_file()
            if own and path not in kept:
                remove_folder(path)

    def restore(self, step: int | None) -> list[str]:
        """Makes the model of `step` the best one again (None: there is none). Returns what is to be said about it."""
        here, said = self.step(), []
        if self.folder.is_dir() and here != step:
            remove_folder(self.folder)
            said.append(f"removed {self.folder}, which was of step {here}")
        if step is None:
            return said
        if here != step and self.waiting(step).is_dir():
            self.waiting(step).rename(self.folder)
        try:
            verify(self.folder)
        except CheckpointError:
            if self.folder.is_dir():
                remove_folder(self.folder)
            said.append(f"{self.folder}, of step {step}, is missing or damaged; the next evaluation makes a new one")
        return said
