"""Runs that differ in their settings and seeds: what each reached, by setting, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapo_cli.metric_names import CLIPPED, GREEDY_EXACT, SAMPLED_EXACT
from gapo_cli.statistics.seed_differences import seed_difference


@dataclass(frozen=True)
class JobRecord:
    """One job of a sweep as its files tell it. `setting`: the swept values other than the seed, as "tau=0.3"; `seed`: the run's,
    swept or not; `metrics`: the rows of its metrics.jsonl, none where it never got that far; `error`: why it failed, or None."""

    number: int
    setting: str
    seed: str
    metrics: tuple[Mapping[str, Any], ...]
    seconds: float
    error: str | None = None

    def curve(self, key: str) -> list[tuple[float, float]]:
        """(step, value) of every row that has the metric."""
        return [(row["step"], row[key]) for row in self.metrics if row.get(key) is not None]

    def values(self) -> dict[str, float]:
        """The job's numbers in the table; NaN where its metrics lack one. Exact match: before training, after it, and the
        best evaluation of the run; clip fraction: mean over steps; wall time in seconds. A job that failed has nothing after and no
        best: what it measured last is of a model that was still to learn."""
        found = {}
        for name, key in (("greedy", GREEDY_EXACT), ("sampled", SAMPLED_EXACT)):
            points = [value for _, value in self.curve(key)]
            found[f"{name}_first"] = points[0] if points else math.nan
            ended = bool(points) and self.error is None
            found[f"{name}_final"] = points[-1] if ended else math.nan
            found[f"{name}_best"] = max(points) if ended else math.nan
        clipped = [value for _, value in self.curve(CLIPPED)]
        found["clip_fraction"] = sum(clipped) / len(clipped) if clipped else math.nan
        found["seconds"] = self.seconds
        return found


MEASURES = (
    "greedy_first",
    "greedy_final",
    "greedy_best",
    "sampled_first",
    "sampled_final",
    "sampled_best",
    "clip_fraction",
    "seconds",
)
PAIRED = ("greedy_final", "sampled_final")


def differences_by_seed(jobs: Sequence[JobRecord], setting: str, other: str, measure: str) -> dict[str, float]:
    """Seed → `setting` less `other` in one of the MEASURES, for the seeds that both have finished with a number."""
    reached = {
        name: {job.seed: job.values()[measure] for job in jobs if job.setting == name and job.error is None}
        for name in (setting, other)
    }
    differences = {seed: value - reached[other].get(seed, math.nan) for seed, value in reached[setting].items()}
    return {seed: value for seed, value in differences.items() if not math.isnan(value)}


def settings_table(jobs: Sequence[JobRecord]) -> Any:
    """A DataFrame with one row a setting, in the order of the jobs: `runs` and `failed`; of every measure `_mean` and
    `_std` over the jobs that finished (ddof 1, NaN for one job); of the final exact matches the difference from the first
    setting, paired by seed: `_difference_mean`, `_std`, `_low` and `_high` (the 95 % t interval), `_p` (sign flips), `_pairs`."""
    import pandas as pd

    finished = pd.DataFrame(
        [{"setting": job.setting, "seed": job.seed, **job.values()} for job in jobs if job.error is None],
        columns=["setting", "seed", *MEASURES],
    )
    settings = list(dict.fromkeys(job.setting for job in jobs))
    rows = []
    for setting in settings:
        own = finished[finished["setting"] == setting]
        row: dict[str, Any] = {
            "setting": setting,
            "runs": len(own),
            "failed": sum(job.setting == setting and job.error is not None for job in jobs),
        }
        for measure in MEASURES:
            row[f"{measure}_mean"] = own[measure].mean()
            row[f"{measure}_std"] = own[measure].std(ddof=1)
        for measure in PAIRED:
            of_first = differences_by_seed(jobs, setting, settings[0], measure) if setting != settings[0] else {}
            found = seed_difference(list(of_first.values()))
            row |= {
                f"{measure}_difference_{name}": np.nan if value is None else value
                for name, value in (
                    ("mean", found.mean), ("std", found.std), ("low", found.low), ("high", found.high), ("p", found.flip_p)
                )
            }  # fmt: skip
            row[f"{measure}_pairs"] = found.seeds
        rows.append(row)
    return pd.DataFrame(rows)
