"""A run's folder as a report reads it: whatever is there, and a sentence for everything that is missing or damaged."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError, first_line
from gapo_cli.evaluation.paired import paired_differences
from gapo_cli.evaluation.predictions import Mode, from_rows
from gapo_cli.evaluation.summary import Breakdown, Summary
from gapo_cli.metric_names import GREEDY_EXACT, SAMPLED_EXACT
from gapo_cli.runs.layout import (
    BEST,
    BEST_RECORD,
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    EVALUATIONS,
    LEARNER,
    METRICS,
    ROLLOUT_FILE,
    ROLLOUTS,
    SWEEP_PLAN,
    steps_in,
)
from gapo_cli.runs.sweep_plan import folder_of, read_plan
from gapo_cli.statistics.intervals import Measure

METRIC_OF_MODE: Mapping[Mode, str] = {"greedy": GREEDY_EXACT, "sampled": SAMPLED_EXACT}


@dataclass(frozen=True)
class Evaluation:
    """Held-out tasks as they were answered after `step` steps; `predictions` is the file of the answers, if it is there."""

    step: int
    summary: Summary
    baselines: Mapping[str, Breakdown]
    predictions: Path | None


@dataclass(frozen=True)
class RunData:
    """What one run left behind. `name` tells the runs of a report apart. `learner`: learner.json of a
    training run, {} where there is none; `metrics`: the rows of metrics.jsonl; `rollouts`:
    step → parquet file; `best`: best.json of the best checkpoint. `notes`: what is missing or damaged."""

    path: Path
    name: str
    config: Mapping[str, Any]
    learner: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    evaluations: tuple[Evaluation, ...]
    rollouts: Mapping[int, Path]
    best: Mapping[str, Any] | None
    notes: tuple[str, ...]

    def setting(self, *keys: str) -> Any:
        """A value of the resolved config, None where the config or the key is missing."""
        found: Any = self.config
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def curve(self, key: str) -> list[tuple[float, float]]:
        """(step, value) of every row that has a finite number under `key`."""
        return [(row["step"], row[key]) for row in self.metrics if is_number(row.get("step")) and is_number(row.get(key))]

    def exact_match(self, mode: Mode) -> list[tuple[float, Measure]]:
        """(step, exact match) of every evaluation in that mode: from eval/, or, where that is gone, from the metrics."""
        found = [
            (float(one.step), breakdown.overall.exact_match)
            for one in self.evaluations
            if (breakdown := one.summary.by_mode()[mode]) is not None
        ]
        if found:
            return found
        key = METRIC_OF_MODE[mode]
        lows, highs = dict(self.curve(f"{key}_low")), dict(self.curve(f"{key}_high"))
        return [(step, Measure(value, lows.get(step), highs.get(step))) for step, value in self.curve(key)]


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_run(path: Path) -> bool:
    """A folder that some verb has written into."""
    return path.is_dir() and any((path / name).exists() for name in (CONFIG, METRICS, EVALUATIONS, ROLLOUTS, ROLLOUT_FILE))


def is_training_run(path: Path) -> bool:
    """A run that has learnt something, or was to: one that failed at once has its config only."""
    return (path / METRICS).exists() or read_config(path / CONFIG, []).get("verb") == "train"


def run_folders(path: Path) -> list[Path]:
    """The runs that a path stands for: itself, or the jobs of a sweep's folder, with those that stand for a job from elsewhere; none
    where it is neither."""
    if is_run(path):
        return [path]
    if not (path / SWEEP_PLAN).is_file():
        return []
    jobs = {int(entry.name): entry for entry in path.iterdir() if entry.name.isdecimal()}
    with contextlib.suppress(DataError):  # a damaged plan hides none of the runs that are here
        jobs |= {job.number: folder_of(path, job) for job in read_plan(path).jobs}
    return [jobs[number] for number in sorted(jobs) if is_run(jobs[number])]


def read_runs(paths: Sequence[Path]) -> list[RunData]:
    """The runs, named by as few of the last parts of their paths as tell them apart."""
    return [read_run(path, name) for path, name in zip(paths, short_names(paths), strict=True)]


def short_names(paths: Sequence[Path]) -> list[str]:
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts), default=1)):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def read_run(path: Path, name: str | None = None) -> RunData:
    """Reads what is there. Nothing missing or damaged raises an error: it becomes a note."""
    notes: list[str] = []
    config = read_config(path / CONFIG, notes)
    metrics = _read_metrics(path / METRICS, notes)
    rollouts = steps_in(path / ROLLOUTS, ".parquet")
    if not rollouts and (path / ROLLOUT_FILE).is_file():
        rollouts = {0: path / ROLLOUT_FILE}
    verb = config.get("verb")
    learner = _read_object(path / LEARNER, []) or {}
    if verb in (None, "train") and not metrics and not notes_about(notes, METRICS):
        notes.append(f"{METRICS} is missing: no learning curves")
    if verb in (None, "train", "rollout") and learner.get("samples", True) and not rollouts:
        notes.append(f"{ROLLOUTS}/ is missing or empty: no groups to look at")
    evaluations = _read_evaluations(path / EVALUATIONS, notes)
    if verb in (None, "train", "eval") and not evaluations:
        notes.append(f"{EVALUATIONS}/ has no evaluation: no exact match before and after")
    planned = learner.get("steps")
    done = max((row["step"] for row in metrics if is_number(row.get("step"))), default=None)
    if is_number(planned) and done is not None and done < planned:
        notes.append(f"the run ended after {learner.get('unit', 'step')} {done:g} of {planned}")
    return RunData(
        path=path,
        name=name or path.name,
        config=config,
        learner=learner,
        environment=_read_object(path / ENVIRONMENT, notes) or {},
        metrics=tuple(metrics),
        evaluations=tuple(evaluations),
        rollouts=rollouts,
        best=_read_object(path / CHECKPOINTS / BEST / BEST_RECORD, []),
        notes=tuple(notes),
    )


def notes_about(notes: Sequence[str], name: str) -> bool:
    return any(note.startswith(name) for note in notes)


def change_of(run: RunData) -> dict[Mode, Measure]:
    """Exact match of the last evaluation minus that of the first, paired by task, where both files of answers are
    there; {} otherwise."""
    import pandas as pd

    if len(run.evaluations) < 2:
        return {}
    first, last = run.evaluations[0].predictions, run.evaluations[-1].predictions
    if first is None or last is None:
        return {}
    try:
        before, after = (from_rows(pd.read_parquet(path).to_dict("records")) for path in (first, last))
    except (OSError, ValueError):
        return {}
    return paired_differences(before, after)


def read_config(path: Path, notes: list[str]) -> dict[str, Any]:
    """The settings of a run, of its resolved config; {} with a note where that is missing or damaged."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    try:
        config = OmegaConf.to_container(OmegaConf.load(path))
    except OSError:
        notes.append(f"{path.name} is missing: the settings of the run are unknown")
        return {}
    except (YAMLError, ValueError) as error:
        notes.append(f"{path.name} cannot be read: {first_line(error)}")
        return {}
    if not isinstance(config, dict):
        notes.append(f"{path.name} cannot be read: it holds no settings")
        return {}
    return {str(key): value for key, value in config.items()}


def _read_object(path: Path, notes: list[str]) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        notes.append(f"{path.name} is missing")
        return None
    except ValueError as error:
        notes.append(f"{path.name} cannot be read: {first_line(error)}")
        return None
    return value if isinstance(value, dict) else None


def _read_metrics(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            notes.append(f"{path.name}, line {number}: torn, left out")
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _read_evaluations(folder: Path, notes: list[str]) -> list[Evaluation]:
    evaluations = []
    for step, path in steps_in(folder, ".json").items():
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            summary = Summary.from_dict(row)
            baselines = {name: Breakdown.from_dict(one) for name, one in row.get("baselines", {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            notes.append(f"{folder.name}/{path.name} cannot be read: {first_line(error)}")
            continue
        evaluations.append(Evaluation(step, summary, baselines, _readable_answers(path.with_suffix(".parquet"), notes)))
    return evaluations


def _readable_answers(path: Path, notes: list[str]) -> Path | None:
    """The file of an evaluation's answers; None where it is not there, with a note where it was cut."""
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        notes.append(f"{path.parent.name}/{path.name} cannot be read: {first_line(error)}")
        return None
    return path
