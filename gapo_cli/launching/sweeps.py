"""Runs the jobs of a sweep by one of Hydra's launchers: all of them, or those that an earlier try has left.

sweep.json holds the plan, a job's outcome.json how it stands, so a sweep that was stopped or killed goes on where it was: done
jobs are not run again, a job that was under way goes on from its newest whole checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from gapo_cli.errors import CheckpointError, StorageError, UserError
from gapo_cli.experiment import Experiment
from gapo_cli.hardware import usable_cores
from gapo_cli.interfaces import Display, QuietDisplay, TextEngine
from gapo_cli.launching.allowed_code import SAID_AGAIN
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import combinations, command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.launching.launch import only_process_in, run_stage
from gapo_cli.launching.overrides import continue_from, key_of, quoted, unquoted
from gapo_cli.runs.claim import AUTO, RUN_DIR, check_free, folder_named
from gapo_cli.runs.layout import SWEEP_PLAN
from gapo_cli.runs.outcome import outcome_recorded, read_outcome
from gapo_cli.runs.sweep_plan import JobsByState, PlannedJob, SweepPlan, folder_of, plan_jobs, read_plan, save_plan
from gapo_cli.stages.run_setup import check_model_there
from gapo_cli.stages.sweep import SweepResult
from gapo_cli.stages.sweep import sweep as compare_jobs
from gapo_cli.storage.locks import hold, is_held

SWEEPS = Path("outputs/sweep")
SWEEP_DIR, JOB_DIR = "hydra.sweep.dir", "hydra.sweep.subdir"
RETRY = "--retry-failed"
CORES_OF_A_JOB = ("cpus_per_task", "ray.remote.num_cpus")
"""Where launchers, submitit's and Ray's, have the cores of one job."""


def sweep(
    words: Sequence[str], display: Display, config_dir: Path | None = None, *, quiet: bool = False, retry_failed: bool = False
) -> SweepResult:
    """Trains once for every combination of values and compares the runs; with `resume=FOLDER` goes on with a sweep. A job that
    fails does not keep the others from running. Raises UserError for the user's mistakes, KeyboardInterrupt, with the comparison
    written, when stopped."""
    refuse_job_folders(words)
    values = {key_of(word): unquoted(word.partition("=")[2]) for word in words}
    resume = values.get("resume")
    given = [word for word in words if key_of(word) != "resume"]
    if retry_failed and not resume:
        raise UserError(f"{RETRY}: say of which sweep, by resume=FOLDER, or resume=auto for the newest with failed jobs")
    folder = Path(resume) if resume and resume != AUTO else None
    if resume == AUTO:
        folder = find_sweep(given, Path(values[SWEEP_DIR]) if SWEEP_DIR in values else None, retry_failed)
        display.say(
            f"resume=auto: {f'going on with {folder}' if folder else 'there is nothing to go on with, so a new sweep begins'}"
        )
    if folder is None:
        return start(given, display, config_dir, quiet=quiet)
    return go_on(folder, given, display, config_dir, quiet=quiet, retry_failed=retry_failed)


def refuse_job_folders(words: Sequence[str]) -> None:
    """Raises UserError where the words name the jobs' folders: a sweep is resumed by their numbers."""
    for word in words:
        if key_of(word) == JOB_DIR:
            raise UserError(f"{word}: the jobs of a sweep lie in folders 0, 1, 2, ... of {SWEEP_DIR}; leave it out")
        if key_of(word) == RUN_DIR:
            raise UserError(f"{word}: is the folder of a single run; name that of all runs by {SWEEP_DIR}=")


def start(words: Sequence[str], display: Display, config_dir: Path | None, *, quiet: bool) -> SweepResult:
    """Every combination is checked, and the data prepared, before the first one starts."""
    with open_tree(config_dir) as hydra:
        overrides = command_overrides("train", words)
        config = compose_overrides(hydra, overrides, sweep=True)
        folder = folder_named(SWEEP_DIR, config.hydra.sweep.dir)
        check_free(folder, f"{SWEEP_DIR}={folder}", resumed_by="sweep")
        each = combinations(overrides)
        if not each:
            raise UserError("gapo sweep: give a key several values, as tau=0.3,0.5,0.7 seed=0,1,2")
        repeated = next((own for own, _ in each if sum(own == other for other, _ in each) > 1), None)
        if repeated is not None:
            raise UserError(f"gapo sweep: {' '.join(repeated)} is there twice; name each value once")
        jobs = plan_jobs([own for own, _ in each])
        swept = {key_of(word) for word in each[0][0]}
        shared = [word for word in overrides if key_of(word) not in {*swept, SWEEP_DIR, JOB_DIR}]
        parallel = config.hydra.runtime.choices["hydra/launcher"] != "basic"
        if parallel and "trainer.threads" not in {key_of(word) for word in overrides}:
            shared.append(f"trainer.threads={threads_per_job(config, len(jobs))}")
        plan = SweepPlan(tuple(words), str(config_dir.resolve()) if config_dir else None, tuple(shared), jobs)
        experiments = experiments_of(hydra, plan, jobs)
        if any(isinstance(experiment.engine, TextEngine) for experiment in experiments):
            raise UserError(
                "gapo sweep: a sweep trains, and a served model (engine=openai) cannot be trained; leave engine= out"
            )
        prepare_data(experiments, display)
        with only_process_in(folder, display):
            save_plan(folder, plan)
            return launch_and_compare(hydra, folder, plan, jobs, display, quiet=quiet)


def go_on(
    folder: Path, words: Sequence[str], display: Display, config_dir: Path | None, *, quiet: bool, retry_failed: bool
) -> SweepResult:
    """Runs the unfinished jobs of the sweep in `folder`, or, with `retry_failed`, the failed ones alone. Of `words` those of Hydra
    (another launcher) go in; others must be what the sweep was started with."""
    plan = read_plan(folder)
    refuse_other_settings(folder, plan, words)
    plan = trusting_only(plan, words)
    with (
        only_process_in(folder, display),
        open_tree(config_dir or (Path(plan.config_dir) if plan.config_dir else None)) as hydra,
    ):
        jobs = jobs_left(folder, plan, display, retry_failed=retry_failed)
        prepare_data(experiments_of(hydra, plan, jobs), display)
        return launch_and_compare(hydra, folder, plan, jobs, display, quiet=quiet)


def refuse_other_settings(folder: Path, plan: SweepPlan, words: Sequence[str]) -> None:
    """Raises UserError where the words are settings, and not those that the sweep or study was started with."""
    if settings_of(words) and settings_of(words) != settings_of(plan.words):
        raise UserError(
            f"resume={folder}: was started as `{plan.command}`; leave other settings out, or start another {plan.verb} with them"
        )


def trusting_only(plan: SweepPlan, words: Sequence[str]) -> SweepPlan:
    """The plan with Hydra's settings of the words given now, and with the trust that they give and no other."""
    trusted = [word for word in words if key_of(word) in SAID_AGAIN]
    shared = (*without_trust(continue_from(plan.overrides, of_hydra(words))), *trusted)
    jobs = tuple(replace(job, overrides=without_trust(job.overrides)) for job in plan.jobs)
    return replace(plan, overrides=shared, jobs=jobs)


def jobs_left(folder: Path, plan: SweepPlan, display: Display, *, retry_failed: bool) -> tuple[PlannedJob, ...]:
    """The unfinished jobs, or the failed ones, that no other process works on; says how many there are."""
    states = JobsByState.of(folder, plan)
    wanted = states.failed if retry_failed else states.unfinished
    busy = tuple(job for job in wanted if is_held(folder_of(folder, job)))
    for job in busy:
        display.say(f"job {job.number} ({job.label}) is left out: another process is at work in {folder_of(folder, job)}")
    jobs = tuple(job for job in wanted if job not in busy)
    display.say(
        f"{folder}: {len(states.done)} of {len(plan.jobs)} jobs done, {len(states.failed)} failed, {len(states.unfinished)} unfinished; "
        + (f"running {len(jobs)} of the {'failed' if retry_failed else 'unfinished'}" if jobs else "none to run")
    )
    return jobs


def find_sweep(words: Sequence[str], named: Path | None, retry_failed: bool) -> Path | None:
    """What `resume=auto` goes on with: the sweep in hydra.sweep.dir, else, of those under outputs/sweep that have such jobs left
    and were started with the words given (if any were), the newest. None: there is none, and the words say what to begin. Raises
    UserError where they do not."""
    if named is not None:
        return named if (named / SWEEP_PLAN).exists() else None
    wanted = settings_of(words)
    for path in sorted(SWEEPS.glob(f"*/{SWEEP_PLAN}"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        plan = read_plan(path.parent)
        states = JobsByState.of(path.parent, plan)
        left = states.failed if retry_failed else states.unfinished
        if left and (not wanted or wanted == settings_of(plan.words)) and not is_held(path.parent):
            return path.parent
    if not wanted or retry_failed:
        raise UserError(
            f"resume=auto: no sweep under {SWEEPS} has {'failed' if retry_failed else 'unfinished'} jobs; name one by resume=FOLDER"
        )
    return None


def without_trust(words: Sequence[str]) -> tuple[str, ...]:
    """What lets strangers' code run is not taken from a folder, which may be a stranger's."""
    return tuple(word for word in words if key_of(word) not in SAID_AGAIN)


def of_hydra(words: Sequence[str]) -> list[str]:
    return [word for word in words if is_hydras(word) and key_of(word) not in (SWEEP_DIR, JOB_DIR)]


def is_hydras(word: str) -> bool:
    """Whether it is about where and how jobs run."""
    return key_of(word).startswith(("hydra.", "hydra/"))


def settings_of(words: Sequence[str]) -> list[str]:
    """The words that are not about where and how the jobs run, nor about whom to trust, in any order."""
    return sorted(word for word in without_trust(words) if not is_hydras(word))


def experiments_of(hydra: Any, plan: SweepPlan, jobs: Sequence[PlannedJob]) -> list[Experiment]:
    """The experiments of the jobs, each of them checked. Raises UserError, also for jobs on several processes: a launcher runs
    each in one."""
    found = []
    for job in jobs:
        config = compose_overrides(hydra, [*plan.overrides, *job.overrides])
        found.append(build_experiment(without_hydra(config), config.hydra.runtime.choices, Path()))
    asked = next((one.trainer.processes for one in found if (one.trainer.processes or 1) > 1), None)
    if asked is not None:
        raise UserError(
            f"trainer.processes={asked}: each job of a sweep or a study is one process; leave it out, or start the runs by gapo train"
        )
    return found


def check_a_model_there(experiments: Sequence[Experiment]) -> None:
    """Raises CheckpointError where no job has a model; one that is missing is the failure of its own jobs."""
    started = [experiment for experiment in experiments if experiment.learner.starts_from_folder(experiment)]
    missing = None
    for experiment in started:
        try:
            check_model_there(experiment.model)
        except CheckpointError as error:
            missing = missing or error
        else:
            return
    if missing is not None and len(started) == len(experiments):
        raise missing


def prepare_data(experiments: Sequence[Experiment], display: Display) -> None:
    """Builds the task sets of a sweep once, so that jobs side by side do not each build their own. Looks at the models before: data
    may take minutes. Raises CheckpointError where no job has a model."""
    from gapo_cli.tasks.sets.prepared import prepare

    check_a_model_there(experiments)
    done = []
    for experiment in experiments:
        if (experiment.data, experiment.source) not in done:
            done.append((experiment.data, experiment.source))
            prepare(experiment, display)


def launch_and_compare(
    hydra: Any, folder: Path, plan: SweepPlan, jobs: Sequence[PlannedJob], display: Display, *, quiet: bool
) -> SweepResult:
    try:
        launch(hydra, folder, plan, jobs, quiet=quiet)
    except KeyboardInterrupt:
        compare_jobs(folder, display)
        display.say(f"the sweep was stopped; go on with: gapo {plan.verb} resume={folder}")
        raise
    except Exception as error:  # noqa: BLE001 - a launcher that lost a worker; what the others did is shown all the same
        display.say(f"the launcher stopped: {type(error).__name__}: {error}; go on with: gapo {plan.verb} resume={folder}")
    result = compare_jobs(folder, display)
    failed = len(JobsByState.of(folder, plan).failed)
    if failed:
        display.say(
            f"to run {'the failed job' if failed == 1 else f'the {failed} failed jobs'} again: gapo {plan.verb} resume={folder} {RETRY}"
        )
    return result


def launch(hydra: Any, folder: Path, plan: SweepPlan, jobs: Sequence[PlannedJob], *, quiet: bool) -> None:
    """Hydra's launcher itself, not its sweeper, which knows no other set of jobs than all combinations."""
    if not jobs:
        return
    overrides = [*plan.overrides, f"{SWEEP_DIR}={quoted(str(folder))}"]
    config = hydra.compose_config(config_name="config", overrides=overrides, run_mode=RunMode.MULTIRUN)
    parallel = config.hydra.runtime.choices["hydra/launcher"] != "basic"
    task = functools.partial(perform_job, labels=tuple(job.label for job in plan.jobs), quiet=quiet, parallel=parallel)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
    launcher.launch([overrides_of(folder, plan, job) for job in jobs], initial_job_idx=0)


def overrides_of(folder: Path, plan: SweepPlan, job: PlannedJob) -> list[str]:
    """What a launcher is given for one job; Hydra's own settings it has already."""
    shared = [word for word in plan.overrides if not is_hydras(word)]
    begun = [f"resume={AUTO}"] if read_outcome(folder_of(folder, job)) else []
    return [*shared, *job.overrides, *begun, f"{JOB_DIR}={job.number}"]


def threads_per_job(config: DictConfig, jobs: int) -> int:
    """The cores that the launcher asks for each job, else those of this machine, shared out among the jobs that run side by side:
    more threads than cores is far slower than fewer."""
    asked = next(filter(None, (OmegaConf.select(config, f"hydra.launcher.{key}") for key in CORES_OF_A_JOB)), None)
    if asked is not None:
        return max(1, int(asked))
    cores = usable_cores()
    side_by_side = int(OmegaConf.select(config, "hydra.launcher.n_jobs") or jobs)
    return max(1, cores // min(jobs, side_by_side if side_by_side > 0 else cores))


def perform_job(config: DictConfig, labels: Sequence[str], *, quiet: bool, parallel: bool) -> None:
    """One job of a sweep. How it ends is written into its outcome.json, never raised, Ctrl-C excepted. One that a cluster took from
    its machine and starts again goes on from its newest checkpoint."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if config.resume is None and read_outcome(folder) is not None:
        config = OmegaConf.merge(config, {"resume": AUTO})
    with job_display(labels, int(folder.name), quiet=quiet, parallel=parallel) as display:
        try:
            with hold(folder), contextlib.suppress(Exception), outcome_recorded(folder):  # the sweep's table says what failed
                run_stage(config, display)
        except StorageError as error:  # a worker of a killed sweep is still at work there
            display.say(str(error))


def job_display(labels: Sequence[str], number: int, *, quiet: bool, parallel: bool) -> Any:
    """A context manager that gives the Display of one job: side by side, only marked lines; one by one, the usual."""
    from gapo_cli.console import ConsoleDisplay, make_console

    if quiet:
        return contextlib.nullcontext(QuietDisplay())
    if parallel:
        return ConsoleDisplay(make_console(lines_only=True), prefix=f"[{labels[number]}] ", only_evaluations=True)
    display = ConsoleDisplay()
    display.say(f"job {number} ({number + 1} of {len(labels)}): {labels[number]}")
    return display
