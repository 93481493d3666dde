"""Runs stages inside Hydra: the run directory, the resolved config, sweeps over several jobs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gapo_cli.composition import (
    build_experiment,
    combinations,
    command_overrides,
    compose_overrides,
    open_tree,
    without_hydra,
)
from gapo_cli.errors import UserError
from gapo_cli.files import write_text
from gapo_cli.interfaces import Display, Experiment, QuietDisplay, TextEngine
from gapo_cli.locks import LOCK, hold
from gapo_cli.model_choice import choose_model
from gapo_cli.overrides import key_of, quoted
from gapo_cli.processors import usable_cores
from gapo_cli.run_choice import RUN_DIR, choose_run
from gapo_cli.stages.outcome import OUTCOME, outcome_recorded
from gapo_cli.stages.run_setup import ENVIRONMENT
from gapo_cli.stages.sweep import METRICS, PLAN, SweepResult, plan_jobs, save_plan
from gapo_cli.stages.sweep import sweep as compare_jobs

RESOLVED = "config.resolved.yaml"
RESULTS = {"eval": "eval", "rollout": "rollouts.parquet"}
"""What a verb writes that an earlier run's may not be replaced by."""
STAGES = {
    "prepare": "gapo_cli.stages.statistics:prepare_and_describe",
    "rollout": "gapo_cli.stages.rollout:rollout",
    "train": "gapo_cli.stages.train:train",
    "eval": "gapo_cli.stages.evaluate:evaluate",
}
ENQUIRIES = {
    "plan": "gapo_cli.stages.plan:plan",
    "doctor": "gapo_cli.stages.doctor:doctor",
}
"""Verbs that answer a question about a configuration and leave no run behind."""


@dataclass(frozen=True)
class Outcome:
    """What a stage returned, or the error that it ended with (handed on as a value: Hydra prints raised ones itself)."""

    result: Any = None
    error: Exception | None = None


def run(verb: str, words: Sequence[str], display: Display, config_dir: Path | None = None) -> Any:
    """Runs one verb and returns what its stage returns. Raises UserError for the user's mistakes."""
    words, model = choose_model(verb, words)
    words, resumed = choose_run(verb, words)
    with open_tree(config_dir) as hydra:
        overrides = command_overrides(verb, words)
        config = compose_overrides(hydra, overrides)
        experiment = build_experiment(without_hydra(config), config.hydra.runtime.choices, Path())
        run_dir = Path(config.hydra.run.dir)
        if verb == "train" and not experiment.resume and (run_dir / METRICS).exists():
            raise UserError(f"hydra.run.dir={run_dir}: holds a run already; name another folder, or go on with it by resume={run_dir}")
        # a served model's answers are kept as they come, and the same command goes on with them
        if verb in RESULTS and not isinstance(experiment.engine, TextEngine) and (run_dir / RESULTS[verb]).exists():
            raise UserError(f"hydra.run.dir={run_dir}: holds the results of an earlier run ({RESULTS[verb]}); name another folder")
        for sentence in filter(None, (model, resumed)):
            display.say(sentence)
        with only_process_in(run_dir, display):
            before = RunRecord.of(run_dir)
            # composed anew, the folder's name would have another time in it
            settled = [*(word for word in overrides if key_of(word) != RUN_DIR), f"{RUN_DIR}={quoted(str(run_dir))}"]
            job = hydra.run(config_name="config", task_function=functools.partial(perform, display=display), overrides=settled)
            outcome: Outcome = job.return_value
            if isinstance(outcome.error, UserError) and not remove_if_nothing_came_of_it(run_dir):
                before.put_back_if_unchanged(run_dir)
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def enquire(verb: str, words: Sequence[str], display: Display, config_dir: Path | None = None) -> Any:
    """Runs one of the ENQUIRIES and returns what its stage returns. Raises UserError for the user's mistakes."""
    with open_tree(config_dir) as hydra:
        config = compose_overrides(hydra, command_overrides(verb, words))
        experiment = build_experiment(without_hydra(config), config.hydra.runtime.choices, Path())
    module, function = ENQUIRIES[verb].split(":")
    return getattr(importlib.import_module(module), function)(experiment, display)


@contextlib.contextmanager
def only_process_in(folder: Path, display: Display) -> Iterator[None]:
    """Holds the lock of a folder that files are going to be written in. Raises StorageError where another process does."""
    with hold(folder) as locked:
        if not locked:
            display.say(f"{folder}: no locks can be had there; see to it yourself that no other process writes in it")
        yield


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says about the run: its settings and how it ended, and when its metrics were written last."""

    files: Mapping[Path, bytes]
    metrics_written: int | None

    @classmethod
    def of(cls, run_dir: Path) -> RunRecord:
        paths = (*run_dir.glob(".hydra/*.yaml"), *(run_dir / name for name in (RESOLVED, ENVIRONMENT, OUTCOME)))
        return cls({path: path.read_bytes() for path in paths if path.is_file()}, metrics_written(run_dir))

    def put_back_if_unchanged(self, run_dir: Path) -> None:
        """A run that could not be resumed as asked keeps the settings that it can be resumed with."""
        if metrics_written(run_dir) == self.metrics_written:
            for path, content in self.files.items():
                path.write_bytes(content)


def metrics_written(run_dir: Path) -> int | None:
    metrics = run_dir / METRICS
    return metrics.stat().st_mtime_ns if metrics.is_file() else None


def perform(config: DictConfig, display: Display) -> Outcome:
    """Runs the stage of a composed config in Hydra's run directory; of training it is written down how it ended."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        with outcome_recorded(folder) if config.verb == "train" else contextlib.nullcontext():
            return Outcome(result=run_stage(config, display))
    except Exception as error:  # noqa: BLE001 - whatever it is, `run` raises it again
        return Outcome(error=error)


def run_stage(config: DictConfig, display: Display) -> Any:
    settings = HydraConfig.get()
    run_dir = Path(settings.runtime.output_dir)
    experiment = build_experiment(config, settings.runtime.choices, run_dir)
    write_text(run_dir / RESOLVED, OmegaConf.to_yaml(config, resolve=True))
    module, function = STAGES[experiment.verb].split(":")
    return getattr(importlib.import_module(module), function)(experiment, display)


def remove_if_nothing_came_of_it(run_dir: Path) -> bool:
    """Removes a run directory that holds its configuration and nothing else; True where it did."""
    nothing = {path.name for path in run_dir.iterdir()} <= {".hydra", LOCK, RESOLVED, ENVIRONMENT, OUTCOME}
    if nothing:
        shutil.rmtree(run_dir)
    return nothing


def sweep(words: Sequence[str], display: Display, config_dir: Path | None = None, *, quiet: bool = False) -> SweepResult:
    """Trains once for every combination of values and compares the runs. Every combination is checked, and the data
    prepared, before the first one starts. A job that fails does not keep the others from running. Raises UserError for
    the user's mistakes, KeyboardInterrupt, with the comparison written, when stopped."""
    with open_tree(config_dir) as hydra:
        overrides = command_overrides("train", words)
        config = compose_overrides(hydra, overrides, sweep=True)
        folder = Path(config.hydra.sweep.dir)
        if (folder / PLAN).exists():
            raise UserError(f"hydra.sweep.dir={folder}: holds a sweep already; name another folder")
        each = combinations(overrides)
        if not each:
            raise UserError("gapo sweep: give a key several values, as tau=0.3,0.5,0.7 seed=0,1,2")
        jobs = plan_jobs([swept for swept, _ in each])
        experiments = []
        for _, whole in each:
            job_config = compose_overrides(hydra, whole)
            experiments.append(build_experiment(without_hydra(job_config), job_config.hydra.runtime.choices, Path()))
        if experiments[0].resume:
            raise UserError(f"resume={experiments[0].resume}: a sweep starts its runs anew; leave it out")
        prepare_data(experiments, display)
        save_plan(folder, shlex.join(["gapo", "sweep", *words]), jobs)
        parallel = config.hydra.runtime.choices["hydra/launcher"] != "basic"
        given = {key_of(word) for word in overrides}
        settled = [f"hydra.sweep.dir={quoted(str(folder))}", "hydra.sweep.subdir=${hydra.job.num}"]
        if parallel and "trainer.threads" not in given:
            settled.append(f"trainer.threads={threads_per_job(config, len(jobs))}")
        task = functools.partial(perform_job, labels=tuple(job.label for job in jobs), quiet=quiet, parallel=parallel)
        try:
            hydra.multirun(config_name="config", task_function=task, overrides=[*overrides, *settled])
        except KeyboardInterrupt:
            compare_jobs(folder, display)
            raise
        except Exception as error:  # noqa: BLE001 - a launcher that lost a worker; what the others did is shown all the same
            display.say(f"the launcher stopped: {type(error).__name__}: {error}")
    return compare_jobs(folder, display)


def prepare_data(experiments: Sequence[Experiment], display: Display) -> None:
    """Builds the task sets of a sweep once, so that jobs side by side do not each build their own."""
    from gapo_cli.stages.prepare import prepare

    done = []
    for experiment in experiments:
        if (experiment.data, experiment.source) not in done:
            done.append((experiment.data, experiment.source))
            prepare(experiment, display)


def threads_per_job(config: DictConfig, jobs: int) -> int:
    """The cores shared out among the jobs that run side by side: more threads than cores is far slower than fewer."""
    cores = usable_cores()
    side_by_side = int(OmegaConf.select(config, "hydra.launcher.n_jobs") or jobs)
    return max(1, cores // min(jobs, side_by_side if side_by_side > 0 else cores))


def perform_job(config: DictConfig, labels: Sequence[str], *, quiet: bool, parallel: bool) -> None:
    """One job of a sweep. How it ends is written into its outcome.json, never raised, Ctrl-C excepted."""
    settings = HydraConfig.get()
    folder, number = Path(settings.runtime.output_dir), int(settings.job.num)
    shown = job_display(labels, number, quiet=quiet, parallel=parallel)
    with contextlib.suppress(Exception), outcome_recorded(folder), shown as display:  # the sweep's table says what failed
        run_stage(config, display)


def job_display(labels: Sequence[str], number: int, *, quiet: bool, parallel: bool) -> Any:
    """A context manager that gives the Display of one job: side by side, only marked lines; one by one, the usual."""
    from gapo_cli.console import ConsoleDisplay, make_console

    if quiet:
        return contextlib.nullcontext(QuietDisplay())
    if parallel:
        return ConsoleDisplay(make_console(lines_only=True), prefix=f"[{labels[number]}] ", only_evaluations=True)
    display = ConsoleDisplay()
    display.say(f"job {number + 1} of {len(labels)}: {labels[number]}")
    return display
