"""Finished runs in the place of jobs: what was trained already with the same settings is not trained again.

Studies share settings: GRPO with seed 0 is a job of three of those that ship.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gapo_cli.errors import UserError
from gapo_cli.launching.composition import compose_overrides, without_hydra
from gapo_cli.runs.layout import CONFIG
from gapo_cli.runs.outcome import DONE, read_outcome
from gapo_cli.runs.run_data import is_training_run, read_config, run_folders
from gapo_cli.runs.sweep_plan import PlannedJob

FREE_KEYS = ("resume", "allow_targets")
"""Keys that say how a run was started, not what it trains."""


def taking_finished_runs(
    hydra: Any, shared: Sequence[str], jobs: Sequence[PlannedJob], folders: Sequence[Path]
) -> tuple[PlannedJob, ...]:
    """The jobs, those for which a run in `folders` (runs, or folders of sweeps and studies) has finished with the same settings
    and the same seed standing for it. The number of threads may differ. Raises UserError for a folder without training runs."""
    found: dict[str, Path] = {}
    for folder in folders:
        runs = run_folders(folder)
        if not any(map(is_training_run, runs)):
            raise UserError(f"study.reuse={folder}: holds no training run; name folders of runs, of sweeps or of studies")
        for run in runs:
            outcome = read_outcome(run)
            if outcome is not None and outcome.status == DONE:
                found.setdefault(settings_text(read_config(run / CONFIG, [])), run)
    if not found:
        return tuple(jobs)
    taken = []
    for job in jobs:
        config = without_hydra(compose_overrides(hydra, [*shared, *job.overrides]))
        run = found.get(settings_text(OmegaConf.to_container(config, resolve=True)))
        taken.append(replace(job, taken_from=str(run.resolve())) if run else job)
    return tuple(taken)


def settings_text(config: Mapping[str, Any]) -> str:
    """A config as text that is the same for runs of the same settings."""
    kept = {key: value for key, value in config.items() if key not in FREE_KEYS}
    if isinstance(kept.get("trainer"), Mapping):
        kept["trainer"] = {key: value for key, value in kept["trainer"].items() if key != "threads"}
    return json.dumps(kept, sort_keys=True, default=str)
