"""Runs stages inside Hydra: the run directory, the resolved config."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gapo_cli.errors import UserError
from gapo_cli.interfaces import Display
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.launching.model_choice import choose_model
from gapo_cli.launching.overrides import key_of, quoted
from gapo_cli.launching.perturbation_choice import with_perturbations
from gapo_cli.launching.run_choice import choose_run
from gapo_cli.runs.claim import RUN_DIR, claim_run, folder_named
from gapo_cli.runs.layout import CONFIG
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


def run(verb: str, words: Sequence[str], display: Display, config_dir: Path | None = None) -> Any:
    """Runs one verb and returns what its stage returns. Raises UserError for the user's mistakes."""
    words, model = choose_model(verb, words)
    words, resumed = choose_run(verb, words)
    with open_tree(config_dir) as hydra:
        overrides = with_perturbations(hydra, command_overrides(verb, words))
        config = compose_overrides(hydra, overrides)
        experiment = build_experiment(without_hydra(config), config.hydra.runtime.choices, Path())
        run_dir = folder_named(RUN_DIR, config.hydra.run.dir)
        # a served model's answers are kept as they come, and the same command goes on with them
        claim_run(run_dir, verb, experiment.resume, keeps_answers=getattr(experiment.engine, "keeps_answers", False))
        was_there = run_dir.is_dir()
        for sentence in filter(None, (model, resumed)):
            display.say(sentence)
        with only_process_in(run_dir, display):
            before = RunRecord.of(run_dir)
            # composed again, the folder's name would have another time in it
            settled = [*(word for word in overrides if key_of(word) != RUN_DIR), f"{RUN_DIR}={quoted(str(run_dir))}"]
            job = hydra.run(config_name="config", task_function=functools.partial(perform, display=display), overrides=settled)
            outcome: Outcome = job.return_value
            if isinstance(outcome.error, UserError) and not remove_if_nothing_came_of_it(run_dir, folder_too=not was_there):
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
            display.say(f"{folder}: this file system has no locks; make sure that no other process writes there")
        yield


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
    write_text(run_dir / CONFIG, OmegaConf.to_yaml(config, resolve=True))
    module, function = STAGES[experiment.verb].split(":")
    return getattr(importlib.import_module(module), function)(experiment, display)
