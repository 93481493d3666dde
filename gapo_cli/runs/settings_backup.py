"""The settings of a run that could not be resumed as asked are put back; a folder that nothing came of is removed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gapo_cli.runs.claim import TRACES
from gapo_cli.runs.layout import CONFIG, ENVIRONMENT, HYDRA, LEARNER, METRICS, OUTCOME


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says about the run: its settings and how it ended, and when its metrics were written last."""

    files: Mapping[Path, bytes]
    metrics_written: int | None

    @classmethod
    def of(cls, run_dir: Path) -> RunRecord:
        paths = (*run_dir.glob(f"{HYDRA}/*.yaml"), *(run_dir / name for name in (CONFIG, ENVIRONMENT, LEARNER, OUTCOME)))
        return cls({path: path.read_bytes() for path in paths if path.is_file()}, metrics_written(run_dir))

    def put_back_if_unchanged(self, run_dir: Path) -> None:
        """A run that could not be resumed as asked keeps the settings that it can be resumed with."""
        if metrics_written(run_dir) == self.metrics_written:
            for path, content in self.files.items():
                path.write_bytes(content)


def metrics_written(run_dir: Path) -> int | None:
    metrics = run_dir / METRICS
    return metrics.stat().st_mtime_ns if metrics.is_file() else None


def remove_if_nothing_came_of_it(run_dir: Path, *, folder_too: bool) -> bool:
    """Removes what a run wrote that holds its configuration and nothing else; True where it did. `folder_too`: also the folder,
    which the run has made."""
    paths = list(run_dir.iterdir())
    nothing = {path.name for path in paths} <= TRACES
    if nothing and folder_too:
        shutil.rmtree(run_dir)
    elif nothing:
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return nothing
