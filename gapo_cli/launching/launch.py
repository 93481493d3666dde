"""Runs stages inside Hydra: the run directory, the resolved config.

A training run on several processes: rank 0 does what a process alone does, and tells the others the words that it has settled on.
They compose the same configuration and go into the same stage, without Hydra's job around it and without writing anything."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, read_write

from gapo_cli.errors import UserError, own_lines
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.launching.model_choice import choose_model
from gapo_cli.launching.overrides import expand, key_of, quoted
from gapo_cli.launching.perturbation_choice import with_perturbations
from gapo_cli.launching.run_choice import choose_run
from gapo_cli.launching.several import asks_for_others, check_verb, start_processes, start_run
from gapo_cli.launching.unread import unread_sentence
from gapo_cli.processes.group import joined
from gapo_cli.processes.place import place_here, see_own_device
from gapo_cli.processes.ranks import Ranks
from gapo_cli.processes.screen import keep_log
from gapo_cli.runs.claim import RUN_DIR, claim_run, folder_named
from gapo_cli.runs.layout import CONFIG, rank_log
from gapo_cli.runs.outcome import outcome_recorded
from gapo_cli.runs.settings_backup import RunRecord, remove_if_nothing_came_of_it
from gapo_cli.storage.files import write_text
from gapo_cli.storage.locks import hold

STAGES = {
    "prepare": "gapo_cli.stages.prepare:prepare_and_describe",
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


def run(verb: str, words: Sequence[str], display: Display, config_dir: Path | None = None, options: Sequence[str] = ()) -> Any:
    """Runs one verb and returns what its stage returns. `options`: of the command line, for the processes that a run on several
    starts. Raises UserError for the user's mistakes, LostRank where another process of the run has ended."""
    with ranks_of(verb) as ranks:
        if not ranks.first:
            return follow(ranks, display, config_dir)
        return lead(verb, words, display, config_dir, options, ranks)


def ranks_of(verb: str) -> contextlib.AbstractContextManager[Ranks]:
    """The processes of this command. Raises UserError where there should be none beside this one."""
    place = place_here()
    check_verb(verb, place)
    see_own_device(place)  # torch is not imported yet
    return joined(place)


def lead(
    verb: str, words: Sequence[str], display: Display, config_dir: Path | None, options: Sequence[str], ranks: Ranks
) -> Any:
    """What a process alone does, and rank 0. Where the configuration asks for several processes and this is one, it starts them."""
    given = words
    words, model = choose_model(verb, words)
    words, resumed = choose_run(verb, words)
    with open_tree(config_dir) as hydra:
        overrides = with_perturbations(hydra, command_overrides(verb, words))
        config = compose_overrides(hydra, overrides)
        run_dir = folder_named(RUN_DIR, config.hydra.run.dir)
        # before the parts are built, which takes seconds; whether the engine keeps answers is known behind that
        claim_run(run_dir, verb, None if config.resume is None else str(config.resume), keeps_answers=True)
        experiment = build_experiment(without_hydra(config), config.hydra.runtime.choices, Path(os.path.abspath(run_dir)))
        if ranks.alone and asks_for_others(verb, experiment):
            return start_run(experiment, run_dir, given, config_dir, options)
        # a served model's answers are kept as they come, and the same command goes on with them
        claim_run(run_dir, verb, experiment.resume, keeps_answers=getattr(experiment.engine, "keeps_answers", False))
        was_there = run_dir.is_dir()
        # of what is typed now: a resumed run has said so of the rest
        unread = unread_sentence(experiment, expand(verb, given)) if verb == "train" else None
        for sentence in filter(None, (model, resumed, unread)):
            display.say(sentence)
        with only_process_in(run_dir, display):
            before = RunRecord.of(run_dir)
            # the others compose again, and the folder's name would have another time in it
            settled = [*(word for word in overrides if key_of(word) != RUN_DIR), f"{RUN_DIR}={quoted(str(run_dir))}"]
            ranks.from_first(lambda: settled)
            experiment = replace(experiment, ranks=ranks)
            outcome = run_in_hydra(hydra, config, run_dir, functools.partial(perform, experiment=experiment, display=display))
            if isinstance(outcome.error, UserError) and not remove_if_nothing_came_of_it(run_dir, folder_too=not was_there):
                before.put_back_if_unchanged(run_dir)
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def follow(ranks: Ranks, display: Display, config_dir: Path | None) -> Any:
    """What the other ranks do."""
    settled: list[str] = ranks.from_first(list)
    with open_tree(config_dir) as hydra:
        config = compose_overrides(hydra, settled)
        run_dir = Path(config.hydra.run.dir).absolute()
        keep_log(rank_log(run_dir, ranks.rank))
        experiment = build_experiment(without_hydra(config), config.hydra.runtime.choices, run_dir)
    return perform_stage(replace(experiment, ranks=ranks), display)


def enquire(
    verb: str, words: Sequence[str], display: Display, config_dir: Path | None = None, options: Sequence[str] = ()
) -> Any:
    """Runs one of the ENQUIRIES and returns what its stage returns; None where processes that this one has started have shown it.
    Raises as `run` does."""
    with ranks_of(verb) as ranks:
        if not ranks.first:
            keep_log(Path(os.devnull))
        with open_tree(config_dir) as hydra:
            config = compose_overrides(hydra, command_overrides(verb, words))
            experiment = build_experiment(without_hydra(config), config.hydra.runtime.choices, Path())
        if ranks.alone and asks_for_others(verb, experiment):
            return start_processes(verb, experiment, words, config_dir, options)
        return at_work(ENQUIRIES[verb], replace(experiment, ranks=ranks), display)


@contextlib.contextmanager
def only_process_in(folder: Path, display: Display) -> Iterator[None]:
    """Holds the lock of a folder that files are going to be written in. Raises StorageError where another process does."""
    with hold(folder) as locked:
        if not locked:
            display.say(f"{folder}: this file system has no locks; make sure that no other process writes there")
        yield


def run_in_hydra(hydra: Any, config: DictConfig, run_dir: Path, task: Callable[[DictConfig], Outcome]) -> Outcome:
    """Does `task` as the job of Hydra's `run`, with a config that is composed already: Hydra makes the folder, writes its files
    into it and gives the task the config without its own section."""
    with read_write(config.hydra.run):
        config.hydra.run.dir = str(run_dir)
    callbacks = Callbacks(config)
    callbacks.on_run_start(config=config, config_name="config")
    context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
    job = run_job(task_function=task, config=config, job_dir_key=RUN_DIR, job_subdir_key=None, hydra_context=context)
    callbacks.on_run_end(config=config, config_name="config", job_return=job)
    return job.return_value


def perform(config: DictConfig, experiment: Experiment, display: Display) -> Outcome:
    """Runs the stage of a built experiment in its folder; of training it is written down how it ended."""
    try:
        with outcome_recorded(experiment.run_dir) if experiment.verb == "train" else contextlib.nullcontext():
            return Outcome(result=run_built(config, experiment, display))
    except Exception as error:  # noqa: BLE001 - whatever it is, `run` raises it again
        return Outcome(error=error)


def run_stage(config: DictConfig, display: Display) -> Any:
    """Builds and runs what a job's config says, in the folder that Hydra has given the job."""
    settings = HydraConfig.get()
    experiment = build_experiment(config, settings.runtime.choices, Path(settings.runtime.output_dir))
    return run_built(config, experiment, display)


def run_built(config: DictConfig, experiment: Experiment, display: Display) -> Any:
    write_text(experiment.run_dir / CONFIG, OmegaConf.to_yaml(config, resolve=True))
    return perform_stage(experiment, display)


def perform_stage(experiment: Experiment, display: Display) -> Any:
    return at_work(STAGES[experiment.verb], experiment, display)


def at_work(stage: str, experiment: Experiment, display: Display) -> Any:
    """Calls the stage, "MODULE:FUNCTION". No code within ends the command by `exit`, which would pass for a success where it has no
    code or 0: raises UserError."""
    module, function = stage.split(":")
    try:
        return getattr(importlib.import_module(module), function)(experiment, display)
    except SystemExit as error:
        raise UserError(
            f"exit({'' if error.code is None else error.code}) was called before the command was done{own_lines(error)}; "
            "a part must return or raise an error"
        ) from error
