"""Runs that differ in their settings and seeds: what each reached, by setting, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapo_cli.metric_names import CLIPPED, GREEDY_EXACT, SAMPLED_EXACT


@dataclass(frozen=True)
class JobRecord:
    """One job of a sweep as its files tell it. `setting`: the swept values other than the seed, as "tau=0.3"; `metrics`:
    the rows of its metrics.jsonl, none where it never got that far; `error`: why it failed, or None."""

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
        best evaluation of the run; clip fraction: mean over steps; wall time in seconds."""
        found = {}
        for name, key in (("greedy", GREEDY_EXACT), ("sampled", SAMPLED_EXACT)):
            points = [value for _, value in self.curve(key)]
            found[f"{name}_first"] = points[0] if points else math.nan
            found[f"{name}_final"] = points[-1] if points else math.nan
            found[f"{name}_best"] = max(points) if points else math.nan
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


def settings_table(jobs: Sequence[JobRecord]) -> Any:
    """A DataFrame with one row a setting, in the order of the jobs: `runs` and `failed`; of every measure `_mean` and
    `_std` over the jobs that finished (ddof 1, NaN for one job); of the final exact matches `_difference_mean`, `_std` and
    `_pairs` against the first setting, paired by seed."""
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
        first = finished[finished["setting"] == settings[0]]
        for measure in PAIRED:
            pairs = own.merge(first, on="seed", suffixes=("", "_of_first"))
            differences = (pairs[measure] - pairs[f"{measure}_of_first"]).dropna()
            row[f"{measure}_difference_mean"] = differences.mean() if setting != settings[0] else math.nan
            row[f"{measure}_difference_std"] = differences.std(ddof=1) if setting != settings[0] else math.nan
            row[f"{measure}_pairs"] = len(differences) if setting != settings[0] else 0
        rows.append(row)
    return pd.DataFrame(rows)
