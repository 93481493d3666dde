"""Where a training run begins: at its start, or at the checkpoint that `resume` means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display
from gapo_cli.runs.claim import AUTO
from gapo_cli.storage.locks import hold


@dataclass(frozen=True)
class StartingPoint:
    """Where a run lies and the checkpoint that it goes on from, None for the beginning. `automatic`: resume=auto, so there
    may be something of the run in its folder even where there is no checkpoint, and it may be done already."""

    run_dir: Path
    checkpoint: Path | None
    automatic: bool


@contextlib.contextmanager
def starting_point(experiment: Experiment, display: Display) -> Iterator[StartingPoint]:
    """What `resume` means. A run that lies elsewhere than the experiment's folder (it lacks the settings to take over) is
    locked as long as the block lasts."""
    start = experiment.ranks.from_first(lambda: find_start(experiment, display))
    elsewhere = experiment.ranks.first and start.run_dir.resolve() != experiment.run_dir.resolve()
    with hold(start.run_dir) if elsewhere else contextlib.nullcontext():
        yield start


def find_start(experiment: Experiment, display: Display) -> StartingPoint:
    """Raises CheckpointError where `resume` names a checkpoint that is damaged or not there; resume=auto passes over the
    damaged ones and says so."""
    if experiment.resume is None:
        return StartingPoint(experiment.run_dir, None, automatic=False)
    from gapo_cli.runs.layout import CHECKPOINTS
    from gapo_cli.training.checkpoints.checkpoints import find_checkpoint, newest_whole

    if experiment.resume == AUTO:
        newest = newest_whole(experiment.run_dir)
        for sentence in newest.passed_over:
            display.say(f"resume=auto: {sentence}; it is skipped")
        found = (
            f"from {newest.checkpoint.name}"
            if newest.checkpoint
            else "the run has no whole checkpoint, so it starts over in its folder"
        )
        display.say(f"resume=auto: {found}")
        return StartingPoint(experiment.run_dir, newest.checkpoint, automatic=True)
    checkpoint = find_checkpoint(experiment.resume)
    in_run = checkpoint.parent.name == CHECKPOINTS
    return StartingPoint(checkpoint.parent.parent if in_run else experiment.run_dir, checkpoint, automatic=False)
