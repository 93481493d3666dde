"""gapo sweep: what the jobs of a sweep left in their folders, as one table, one CSV and one plot.

Which jobs there are stands in sweep.json before the first one starts, and how each ended in its outcome.json; so a job that
crashed, or never started, is shown as failed and hides none of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.interfaces import Display
from gapo_cli.metric_names import TIME
from gapo_cli.reports.sweep_table import markdown, plot
from gapo_cli.runs.layout import CONFIG, METRICS, SWEEP_PLOT, SWEEP_TABLE, SWEEP_VALUES
from gapo_cli.runs.outcome import DONE, FAILED, RUNNING, STOPPED, RunOutcome, read_outcome
from gapo_cli.runs.sweep_plan import PlannedJob, SweepPlan, folder_of, read_plan
from gapo_cli.statistics.over_seeds import JobRecord, settings_table
from gapo_cli.storage.files import atomic_path, read_jsonl, write_text


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
    seconds = metrics[-1].get(TIME, ended.seconds) if metrics else ended.seconds
    return JobRecord(job.number, job.setting, job.seed or read_seed(folder), tuple(metrics), seconds, reasons[ended.status])


def read_seed(folder: Path) -> str:
    """The seed in a run's config; "" where it never got so far as to write one."""
    from yaml import YAMLError, safe_load

    try:
        return str(safe_load((folder / CONFIG).read_text(encoding="utf-8"))["seed"])
    except (OSError, YAMLError, KeyError, TypeError):
        return ""


def read_jobs(folder: Path, plan: SweepPlan) -> tuple[JobRecord, ...]:
    """The jobs of the sweep in `folder`. Where the seed is not swept, all have the same one, those that never started too."""
    jobs = [read_job(folder_of(folder, job), job) for job in plan.jobs]
    seed = next((job.seed for job in jobs if job.seed), "")
    return tuple(job if job.seed else replace(job, seed=seed) for job in jobs)


def sweep(folder: Path, display: Display) -> SweepResult:
    """Compares the jobs of the sweep in `folder` and writes sweep.md, sweep.csv and sweep.png there. Raises DataError
    where no sweep lies."""
    plan = read_plan(folder)
    jobs = read_jobs(folder, plan)
    table = settings_table(jobs)
    result = SweepResult(folder, jobs, table, folder / SWEEP_TABLE, folder / SWEEP_VALUES, folder / SWEEP_PLOT)
    write_text(result.markdown, markdown(jobs, plan.command))
    with atomic_path(result.csv) as temporary:
        table.to_csv(temporary, index=False)
    plot(jobs, result.plot)
    for job, record in zip(plan.jobs, jobs, strict=True):
        if record.error is not None:
            display.say(f"job {job.number} ({job.label}) failed: {record.error}")
    return result
