"""sweep.json: the jobs of a sweep, written before the first of them starts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gapo_cli.errors import DataError
from gapo_cli.runs.layout import SWEEP_PLAN
from gapo_cli.runs.outcome import DONE, FAILED, RUNNING, read_outcome
from gapo_cli.storage.files import write_json


@dataclass(frozen=True)
class PlannedJob:
    """One combination of a sweep's values. `setting`: the swept values other than the seed, `seed`: "" where it is not
    swept; `overrides`: of this job alone. `taken_from`: the folder of a finished run with the same settings that stands for the
    job; "" for a job that has a folder of its own."""

    number: int
    setting: str
    seed: str
    overrides: tuple[str, ...]
    taken_from: str = ""

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.setting, f"seed={self.seed}" if self.seed else "") if part)


@dataclass(frozen=True)
class SweepPlan:
    """What sweep.json says: `words` as they were typed after `verb`, the folder of `--config-dir`, the `overrides` that all jobs
    share, and the jobs."""

    words: tuple[str, ...]
    config_dir: str | None
    overrides: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]
    verb: str = "sweep"

    @property
    def command(self) -> str:
        return shlex.join(["gapo", self.verb, *self.words])


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
    write_json(folder / SWEEP_PLAN, {"command": plan.command, **asdict(plan)})


def read_plan(folder: Path) -> SweepPlan:
    """Raises DataError where no sweep lies, or where its sweep.json is damaged."""
    path = folder / SWEEP_PLAN
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        jobs = tuple(PlannedJob(**{**job, "overrides": tuple(job["overrides"])}) for job in saved["jobs"])
        return SweepPlan(
            tuple(saved["words"]), saved["config_dir"], tuple(saved["overrides"]), jobs, saved.get("verb", "sweep")
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: missing; name the folder of a sweep") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is no sweep's plan ({type(error).__name__}: {error}); start the sweep again in another folder"
        ) from error


def folder_of(folder: Path, job: PlannedJob) -> Path:
    return Path(job.taken_from) if job.taken_from else folder / str(job.number)


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
