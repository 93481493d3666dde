"""gapo sweep: what the jobs of a sweep left in their folders, as one table, one CSV and one plot.

Which jobs there are stands in sweep.json before the first one starts, and how each ended in its outcome.json; so a job that
crashed, or never started, is shown as failed and hides none of the others.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.files import atomic_path, read_jsonl, write_json, write_text
from gapo_cli.interfaces import Display
from gapo_cli.reports.sweep_table import JobRecord, markdown, plot, settings_table
from gapo_cli.stages.outcome import DONE, FAILED, RUNNING, STOPPED, RunOutcome, read_outcome

PLAN, METRICS = "sweep.json", "metrics.jsonl"


@dataclass(frozen=True)
class PlannedJob:
    """One combination of a sweep's values. `setting`: the swept values other than the seed, `seed`: "" where it is not
    swept; `overrides`: of this job alone."""

    number: int
    setting: str
    seed: str
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.setting, f"seed={self.seed}" if self.seed else "") if part)


@dataclass(frozen=True)
class SweepPlan:
    """What sweep.json says: `words` as they were typed, the folder of `--config-dir`, the `overrides` that all jobs share,
    and the jobs."""

    words: tuple[str, ...]
    config_dir: str | None
    overrides: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]

    @property
    def command(self) -> str:
        return shlex.join(["gapo", "sweep", *self.words])


@dataclass(frozen=True)
class SweepResult:
    """Where the comparison lies and what it says. `failed`: how many jobs did not finish."""

    folder: Path
    jobs: tuple[JobRecord, ...]
    table: Any
    markdown: Path
    csv: Path
    plot: Path

    @property
    def failed(self) -> int:
        return sum(job.error is not None for job in self.jobs)


def plan_jobs(combinations: Sequence[Sequence[str]]) -> tuple[PlannedJob, ...]:
    """Overrides of each job → jobs; `estimator.tau=0.3` is called `tau=0.3` where no other swept key ends alike."""
    jobs = []
    for number, overrides in enumerate(combinations):
        values = dict(override.lstrip("+").split("=", 1) for override in overrides)
        seed = values.pop("seed", "")
        leaves = [key.rsplit(".", 1)[-1] for key in values]
        named = (
            f"{leaf if leaves.count(leaf) == 1 else key}={value}"
            for leaf, (key, value) in zip(leaves, values.items(), strict=True)
        )
        jobs.append(PlannedJob(number, " ".join(named) or "as configured", seed, tuple(overrides)))
    return tuple(jobs)


def save_plan(folder: Path, plan: SweepPlan) -> None:
    write_json(folder / PLAN, {"command": plan.command, **asdict(plan)})


def read_plan(folder: Path) -> SweepPlan:
    """Raises DataError where no sweep lies, or where its sweep.json is damaged."""
    path = folder / PLAN
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        jobs = tuple(PlannedJob(**{**job, "overrides": tuple(job["overrides"])}) for job in saved["jobs"])
        return SweepPlan(tuple(saved["words"]), saved["config_dir"], tuple(saved["overrides"]), jobs)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: missing; name the folder of a sweep") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is no sweep's plan ({type(error).__name__}: {error}); start the sweep anew in another folder"
        ) from error


def folder_of(folder: Path, job: PlannedJob) -> Path:
    return folder / str(job.number)


@dataclass(frozen=True)
class JobsByState:
    """The jobs of a sweep by how they stand: `done`, `failed`, and `unfinished`: killed, stopped, or never started."""

    done: tuple[PlannedJob, ...]
    failed: tuple[PlannedJob, ...]
    unfinished: tuple[PlannedJob, ...]

    @classmethod
    def of(cls, folder: Path, plan: SweepPlan) -> JobsByState:
        found: dict[str, list[PlannedJob]] = {DONE: [], FAILED: [], RUNNING: []}
        for job in plan.jobs:
            outcome = read_outcome(folder_of(folder, job))
            found[outcome.status if outcome and outcome.status in found else RUNNING].append(job)
        return cls(*(tuple(found[status]) for status in (DONE, FAILED, RUNNING)))


def read_job(folder: Path, job: PlannedJob) -> JobRecord:
    """What a job's folder says, whatever is missing there."""
    metrics: list[Mapping[str, Any]] = []
    damage = None
    if (folder / METRICS).is_file():
        try:
            metrics.extend(row for _, row in read_jsonl(folder / METRICS))
        except DataError as error:
            damage = str(error)
    ended = read_outcome(folder) or RunOutcome(FAILED, error="never started")
    reasons = {DONE: damage, FAILED: ended.error or damage, STOPPED: "stopped before its end", RUNNING: "its process died"}
    # the training's own clock where it ran: the first job of a process also pays for its imports
    seconds = metrics[-1].get("time_s", ended.seconds) if metrics else ended.seconds
    return JobRecord(job.number, job.setting, job.seed, tuple(metrics), seconds, reasons[ended.status])


def sweep(folder: Path, display: Display) -> SweepResult:
    """Compares the jobs of the sweep in `folder` and writes sweep.md, sweep.csv and sweep.png there. Raises DataError
    where no sweep lies."""
    plan = read_plan(folder)
    jobs = tuple(read_job(folder_of(folder, job), job) for job in plan.jobs)
    table = settings_table(jobs)
    result = SweepResult(folder, jobs, table, folder / "sweep.md", folder / "sweep.csv", folder / "sweep.png")
    write_text(result.markdown, markdown(jobs, plan.command))
    with atomic_path(result.csv) as temporary:
        table.to_csv(temporary, index=False)
    plot(jobs, result.plot)
    for job, record in zip(plan.jobs, jobs, strict=True):
        if record.error is not None:
            display.say(f"job {job.number} ({job.label}) failed: {record.error}")
    return result
