"""Runs a study's jobs through the sweep's machinery, seed by seed, and, where asked to, adds seeds until the verdicts are in."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display, PlannedLearner, TextEngine
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree
from gapo_cli.launching.finished_runs import taking_finished_runs
from gapo_cli.launching.launch import only_process_in
from gapo_cli.launching.overrides import key_of, unquoted
from gapo_cli.launching.study_words import requested_study
from gapo_cli.launching.sweeps import (
    JOB_DIR,
    SWEEP_DIR,
    experiments_of,
    is_hydras,
    jobs_left,
    launch_and_compare,
    prepare_data,
    refuse_job_folders,
    refuse_other_settings,
    threads_per_job,
    trusting_only,
)
from gapo_cli.runs.claim import check_free, folder_named
from gapo_cli.runs.study_definition import StudyDefinition, read_definition, save_definition
from gapo_cli.runs.sweep_plan import PlannedJob, SweepPlan, read_plan, save_plan
from gapo_cli.stages.study import StudyResult, study_of_folder

OUTPUTS = Path("outputs/study")


def study(
    words: Sequence[str],
    display: Display,
    config_dir: Path | None = None,
    *,
    quiet: bool = False,
    retry_failed: bool = False,
    dry_run: bool = False,
) -> StudyResult | None:
    """Runs the study that the words name, or goes on with the one in `resume=FOLDER`. None for a dry run, which composes and checks
    every job and says what would be run. Raises UserError for the user's mistakes."""
    refuse_job_folders(words)
    resume = next((unquoted(word.split("=", 1)[1]) for word in words if key_of(word) == "resume"), None)
    if resume is not None:
        return go_on(Path(resume), words, display, config_dir, quiet=quiet, retry_failed=retry_failed)
    if retry_failed:
        raise UserError("--retry-failed: say of which study, by resume=FOLDER")
    definition = requested_study(words, config_dir)
    with open_tree(config_dir) as hydra:
        plan, folder = make_plan(hydra, definition, words, config_dir)
        experiments = experiments_of(hydra, plan, one_seed(plan.jobs))
        if any(isinstance(experiment.engine, TextEngine) for experiment in experiments):
            raise UserError(
                "gapo study: a study trains, and a served model (engine=openai) cannot be trained; leave engine= out"
            )
        if definition.needs:
            display.say(f"scale={definition.scale} needs: {definition.needs}")
        say_taken(plan.jobs, display)
        if dry_run:
            say_plan(definition, plan, experiments, display)
            return None
        check_free(folder, f"{SWEEP_DIR}={folder}", resumed_by="study")
        prepare_data(experiments, display)
        with only_process_in(folder, display):
            save_definition(folder, definition)
            save_plan(folder, plan)
            return run_until_decided(hydra, folder, plan, to_run(plan.jobs), definition, display, quiet=quiet)


def make_plan(hydra: Any, definition: StudyDefinition, words: Sequence[str], config_dir: Path | None) -> tuple[SweepPlan, Path]:
    """The jobs of the first seeds, and the folder that they go into."""
    overrides = command_overrides("train", definition.overrides)
    named = next((unquoted(word.split("=", 1)[1]) for word in overrides if key_of(word) == SWEEP_DIR), None)
    folder = (
        folder_named(SWEEP_DIR, named)
        if named is not None
        else OUTPUTS / f"{definition.name}_{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    )
    shared = [word for word in overrides if key_of(word) not in (SWEEP_DIR, JOB_DIR)]
    jobs = definition.jobs(range(definition.seeds))
    config = compose_overrides(hydra, [*shared, *jobs[0].overrides], sweep=True)
    if config.hydra.runtime.choices["hydra/launcher"] != "basic" and "trainer.threads" not in {key_of(word) for word in shared}:
        shared.append(f"trainer.threads={threads_per_job(config, len(jobs))}")
    settled = str(config_dir.resolve()) if config_dir else None
    jobs = taking_finished_runs(hydra, shared, jobs, [Path(one) for one in definition.reuse])
    return SweepPlan(tuple(words), settled, tuple(shared), jobs, "study"), folder


def one_seed(jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
    """The jobs with the first seed: the others are made of the same parts."""
    return [job for job in jobs if job.seed == jobs[0].seed]


def to_run(jobs: Sequence[PlannedJob]) -> tuple[PlannedJob, ...]:
    """The jobs for which no finished run stands."""
    return tuple(job for job in jobs if not job.taken_from)


def say_taken(jobs: Sequence[PlannedJob], display: Display) -> None:
    taken = len(jobs) - len(to_run(jobs))
    if taken:
        display.say(
            f"{taken} of {len(jobs)} jobs have been run already with the same settings and are taken from there (study.reuse)"
        )


def say_plan(definition: StudyDefinition, plan: SweepPlan, experiments: Sequence[Experiment], display: Display) -> None:
    """`experiments`: of the jobs with the first seed."""
    settings = len(definition.settings) * len(definition.places)
    display.say(f"{len(plan.jobs)} jobs: {settings} settings x {definition.seeds} seeds, every one composes")
    for job, experiment in zip(one_seed(plan.jobs), experiments, strict=True):
        verb = "plan" if isinstance(experiment.learner, PlannedLearner) else "train"
        words = [
            word for word in (*plan.overrides, *job.overrides) if not is_hydras(word) and key_of(word) not in ("verb", "seed")
        ]
        display.say(f"{job.setting}: {shlex.join(['gapo', verb, *words])}")


def go_on(
    folder: Path, words: Sequence[str], display: Display, config_dir: Path | None, *, quiet: bool, retry_failed: bool
) -> StudyResult:
    """Runs what is left of the study in `folder`; of the words only Hydra's (another launcher) go in, others must be what the study was
    started with."""
    plan, definition = read_plan(folder), read_definition(folder)
    given = [word for word in words if key_of(word) != "resume"]
    refuse_other_settings(folder, plan, given)
    plan = trusting_only(plan, given)
    with (
        only_process_in(folder, display),
        open_tree(config_dir or (Path(plan.config_dir) if plan.config_dir else None)) as hydra,
    ):
        jobs = jobs_left(folder, plan, display, retry_failed=retry_failed)
        prepare_data(experiments_of(hydra, plan, jobs), display)
        return run_until_decided(hydra, folder, plan, jobs, definition, display, quiet=quiet)


def run_until_decided(
    hydra: Any,
    folder: Path,
    plan: SweepPlan,
    jobs: Sequence[PlannedJob],
    definition: StudyDefinition,
    display: Display,
    *,
    quiet: bool,
) -> StudyResult:
    """Runs `jobs` and compares; with `until_decided` adds seeds, as many as are said to decide, while the budget lasts."""
    while True:
        launch_and_compare(hydra, folder, plan, jobs, display, quiet=quiet)
        result = study_of_folder(folder)
        seeds = sorted({int(job.seed) for job in plan.jobs})
        more = min(result.more_seeds or 0, definition.budget - len(seeds))
        if not definition.until_decided or more <= 0:
            return result
        # what is said to decide is a guess from few seeds: at most as many again as there are
        more = min(more, len(seeds))
        added = definition.jobs(range(seeds[-1] + 1, seeds[-1] + 1 + more), len(plan.jobs))
        added = taking_finished_runs(hydra, plan.overrides, added, [Path(one) for one in definition.reuse])
        display.say(f"undecided with {len(seeds)} seeds: {more} more, of at most {definition.budget}")
        say_taken(added, display)
        plan, jobs = replace(plan, jobs=(*plan.jobs, *added)), to_run(added)
        save_plan(folder, plan)
