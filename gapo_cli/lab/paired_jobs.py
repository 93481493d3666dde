"""The jobs of a study compared setting with setting, paired by seed: what is better, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gapo_cli.errors import DataError
from gapo_cli.evaluation.paired import exact_match_by_task
from gapo_cli.evaluation.predictions import Mode, from_rows
from gapo_cli.lab.saved_rewards import read_saved
from gapo_cli.metric_names import GREEDY_EXACT, TOKENS_COMPUTED
from gapo_cli.runs.rerun_result import changed_keys
from gapo_cli.runs.run_data import RunData
from gapo_cli.statistics.aggregates import interquartile_mean, probability_of_improvement
from gapo_cli.statistics.intervals import Measure
from gapo_cli.statistics.over_seeds import JobRecord, differences_by_seed
from gapo_cli.statistics.seeds_and_tasks import seeds_and_tasks
from gapo_cli.statistics.verdicts import Verdict, verdicts

MODE_OF: Mapping[str, Mode] = {"greedy_final": "greedy", "sampled_final": "sampled"}
POINTS = 100
"""Exact match is a share; differences of it are said in points."""
OF_THE_RUN = frozenset({"seed", "resume", "verb", "allow_targets"})
"""Keys that runs of one setting may differ in."""


@dataclass(frozen=True)
class StudyJob:
    """`record`: what its files tell; `run`: its folder as a report reads it."""

    record: JobRecord
    run: RunData


@dataclass(frozen=True)
class Side:
    """What one setting reached: `runs` that finished, `final` the interquartile mean of the measure over its seeds; of the others
    the mean over seeds, NaN where no run has it. `zero`: share of advantages that are 0; `tokens`: those that training computed
    (gapo_cli/training/learners/token_count.py)."""

    name: str
    runs: int
    failed: int
    mean: float
    std: float
    final: Measure
    clip_fraction: float
    zero: float
    tokens: float
    seconds: float


@dataclass(frozen=True)
class Compared:
    """`setting` against `other` in one measure. `left_out`: sentences about pairs that are not counted. `tasks`: the difference over
    seeds and tasks together; `improvement`: chance that a run of the setting beats one of the other. In points and shares."""

    setting: str
    other: str
    measure: str
    verdict: Verdict
    seeds: tuple[str, ...]
    left_out: tuple[str, ...]
    tasks: Measure
    improvement: Measure


@dataclass(frozen=True)
class Findings:
    sides: tuple[Side, ...]
    compared: tuple[Compared, ...]
    warnings: tuple[str, ...] = field(default=())


def compare_jobs(
    jobs: Sequence[StudyJob], pairs: Sequence[tuple[str, str]], measure: str, delta: float, named: Mapping[str, Sequence[str]]
) -> Findings:
    """Every pair of settings in greedy and sampled exact match, `measure` first; Holm's correction is over the pairs of one measure.
    `named` setting → keys that its overrides set: what else differs between jobs is a warning."""
    records = [job.record for job in jobs]
    compared: list[Compared] = []
    for key in sorted(MODE_OF, key=lambda key: key != measure):
        differences = {pair: differences_by_seed(records, *pair, key) for pair in pairs}
        points = {str(at): [POINTS * value for value in differences[pair].values()] for at, pair in enumerate(pairs)}
        found = verdicts(points, POINTS * delta, " points")
        for at, (setting, other) in enumerate(pairs):
            seeds = tuple(differences[setting, other])
            compared.append(
                Compared(
                    setting,
                    other,
                    key,
                    found[str(at)],
                    seeds,
                    tuple(left_out(records, setting, other, seeds)),
                    over_tasks(jobs, setting, other, seeds, MODE_OF[key]),
                    probability_of_improvement(reached(records, setting, key), reached(records, other, key)),
                )
            )
    names = dict.fromkeys(record.setting for record in records)
    return Findings(
        tuple(side(jobs, name, measure) for name in names), tuple(compared), tuple(unnamed_differences(jobs, pairs, named))
    )


def reached(records: Sequence[JobRecord], setting: str, measure: str) -> np.ndarray:
    values = [record.values()[measure] for record in records if record.setting == setting and record.error is None]
    return np.array([value for value in values if not math.isnan(value)])


def left_out(records: Sequence[JobRecord], setting: str, other: str, seeds: Sequence[str]) -> list[str]:
    """A sentence for every seed whose pair is not whole."""
    sentences = []
    by_seed = {(record.setting, record.seed): record for record in records}
    for seed in dict.fromkeys(record.seed for record in records if record.setting in (setting, other)):
        if seed in seeds:
            continue
        reasons = []
        for name in (setting, other):
            record = by_seed.get((name, seed))
            if record is None:
                reasons.append(f"{name} was not run")
            elif record.error is not None:
                reasons.append(f"{name} (job {record.number}) failed: {record.error}")
            else:
                reasons += [] if len(record.curve(GREEDY_EXACT)) else [f"{name} (job {record.number}) has no evaluation"]
        sentences.append(f"seed {seed} is left out: {'; '.join(reasons) or 'a number is missing'}")
    return sentences


def side(jobs: Sequence[StudyJob], name: str, measure: str) -> Side:
    own = [job for job in jobs if job.record.setting == name]
    done = [job for job in own if job.record.error is None]
    values = reached([job.record for job in done], name, measure)
    return Side(
        name,
        len(done),
        len(own) - len(done),
        float(values.mean()) if len(values) else math.nan,
        float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        interquartile_mean(values[:, None]),
        mean([job.record.values()["clip_fraction"] for job in done]),
        mean([zero_share(job.run.path) for job in done]),
        mean([tokens_computed(job.record) for job in done]),
        mean([job.record.seconds for job in done]),
    )


def mean(values: Sequence[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def zero_share(folder: Path) -> float:
    """Share of the advantages, of what was learnt from in the whole run, that are exactly 0; NaN where no rollouts are kept."""
    try:
        saved = read_saved(folder)
    except DataError:
        return math.nan
    values = saved.saved[~saved.dropped]
    there = values[~np.isnan(values)]
    return float(np.mean(there == 0)) if len(there) else math.nan


def tokens_computed(record: JobRecord) -> float:
    counts = [row[TOKENS_COMPUTED] for row in record.metrics if TOKENS_COMPUTED in row]
    return float(counts[-1]) if counts else math.nan


def over_tasks(jobs: Sequence[StudyJob], setting: str, other: str, seeds: Sequence[str], mode: Mode) -> Measure:
    """The difference in points over seeds and tasks together, from the answers of the last evaluations; empty where these are not
    kept, or where runs share no task."""
    by_seed = {(job.record.setting, job.record.seed): job.run for job in jobs}
    rows: list[tuple[dict[str, float], dict[str, float]]] = []
    for seed in seeds:
        both = tuple(last_answers(by_seed[name, seed], mode) for name in (setting, other))
        if all(both):
            rows.append((both[0], both[1]))
    shared = set.intersection(*(set(answers) for row in rows for answers in row)) if rows else set()
    if not shared:
        return Measure()
    tasks = sorted(shared)
    return seeds_and_tasks(POINTS * np.array([[ours[task] - theirs[task] for task in tasks] for ours, theirs in rows]))


def last_answers(run: RunData, mode: Mode) -> dict[str, float]:
    """Task id → exact match in the last evaluation; {} where its answers are not kept or cannot be read."""
    import pandas as pd

    path = run.evaluations[-1].predictions if run.evaluations else None
    if path is None:
        return {}
    try:
        return exact_match_by_task(from_rows(pd.read_parquet(path).to_dict("records")), mode)
    except (OSError, ValueError):
        return {}


def unnamed_differences(
    jobs: Sequence[StudyJob], pairs: Sequence[tuple[str, str]], named: Mapping[str, Sequence[str]]
) -> list[str]:
    """Sentences about what the configs of compared jobs, and of jobs of one setting, differ in beside what the settings name."""
    configs: dict[str, list[Mapping[str, Any]]] = {}
    for job in jobs:
        if job.run.config:
            configs.setdefault(job.record.setting, []).append(job.run.config)
    sentences = []
    for setting, other in [*((name, name) for name in configs), *pairs]:
        if setting not in configs or other not in configs:
            continue
        allowed = {*OF_THE_RUN, *named.get(setting, ()), *named.get(other, ())} if setting != other else OF_THE_RUN
        differing: dict[str, set[str]] = {}
        first = configs[other][0]
        for config in configs[setting]:
            for key, values in changed_keys(first, config).items():
                if not any(key == name or key.startswith(f"{name}.") for name in allowed):
                    differing.setdefault(key, set()).update(map(str, values))
        if differing:
            what = "; ".join(f"{key} ({', '.join(sorted(values))})" for key, values in sorted(differing.items()))
            between = f"jobs of {setting} differ" if setting == other else f"{setting} and {other} differ"
            sentences.append(f"{between} in more than the settings named: {what}")
    return sentences
