"""gapo train --rerun RUN: the same run again, from what its folder says, and whether it came out the same.

The settings are those of RUN's config.resolved.yaml: its command is composed again, and where a default has changed since, RUN's
value is taken. With the same data, model and number of threads, on the same machine and versions, a CPU repeats every bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gapo_cli.errors import DataError, UserError
from gapo_cli.interfaces import Display
from gapo_cli.launching.allowed_code import SAID_AGAIN
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, read_overrides, without_hydra
from gapo_cli.launching.launch import run
from gapo_cli.launching.model_choice import typed
from gapo_cli.launching.overrides import key_of
from gapo_cli.runs.claim import RUN_DIR
from gapo_cli.runs.inputs import other_inputs, read_inputs
from gapo_cli.runs.layout import CHOICES, CONFIG, ENVIRONMENT, OVERRIDES
from gapo_cli.runs.outcome import DONE, read_outcome
from gapo_cli.runs.rerun_result import RerunResult, changed_keys, environment_differences, read_environment
from gapo_cli.stages.run_setup import describe_inputs

OF_THE_NEW_RUN = ("verb", "resume", RUN_DIR, "supervised.save_as")
"""Keys of the old run's that are not repeated: the new one writes nothing outside of its own folder."""


def rerun(folder: Path, words: Sequence[str], display: Display, config_dir: Path | None = None) -> RerunResult:
    """Repeats the finished training run in `folder`; of `words` only hydra.run.dir goes in, and what lets strangers' code run, which is
    not taken from a folder. Raises UserError for a folder that is no finished run."""
    other = next((word for word in words if key_of(word) not in {RUN_DIR, *SAID_AGAIN}), None)
    if other is not None:
        raise UserError(f"{other}: --rerun takes every setting from {folder}; leave it out (only {RUN_DIR}=PATH may be given)")
    old = OldRun.read(folder)
    old.overrides += [word for word in words if key_of(word) in SAID_AGAIN]
    words = [word for word in words if key_of(word) == RUN_DIR]
    with open_tree(config_dir or old.config_dir) as hydra:
        overrides, settings = old.settled(hydra)
        config = compose_overrides(hydra, command_overrides("train", overrides))
        experiment = build_experiment(without_hydra(config), config.hydra.runtime.choices, Path())
    for sentence in settings:
        display.say(f"setting of {folder} that is no longer the default: {sentence}")
    inputs: tuple[str, ...] = ()
    try:
        inputs = tuple(other_inputs(read_inputs(folder), describe_inputs(experiment, display)))
    except DataError as error:
        display.say(f"warning: {error}")
    if inputs:
        return RerunResult(folder, None, inputs, settings, (), ())
    # torch only from here on
    from gapo_cli.runs.contents import differences

    done = run("train", [*overrides, *words], display, config_dir or old.config_dir)
    environment = environment_differences(old.environment, read_environment(done.run_dir / ENVIRONMENT))
    result = RerunResult(folder, done.run_dir, inputs, settings, environment, tuple(differences(folder, done.run_dir)))
    result.save()
    return result


class OldRun:
    """What the folder of a finished run says about how it was made."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], overrides: list[str], config_dir: Path | None, environment: dict
    ) -> None:
        self.folder, self.config, self.overrides = folder, config, overrides
        self.config_dir, self.environment = config_dir, environment

    @classmethod
    def read(cls, folder: Path) -> OldRun:
        outcome = read_outcome(folder)
        if outcome is None:
            raise UserError(f"--rerun {folder}: holds no training run; name a run's folder, as outputs/train/TIME")
        if outcome.status != DONE:
            raise UserError(f"--rerun {folder}: has not come to its end ({outcome.status}); finish it by resume={folder} first")
        overrides = read_overrides(folder / OVERRIDES)
        try:
            config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
            sources = OmegaConf.load(folder / CHOICES).hydra.runtime.config_sources
            own = next((source.path for source in sources if source.provider == "--config-dir"), None)
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            raise UserError(
                f"--rerun {folder}: its settings cannot be read ({type(error).__name__}: {error}); name another run"
            ) from error
        kept = [word for word in overrides if key_of(word) not in {*OF_THE_NEW_RUN, *SAID_AGAIN}]
        return cls(folder, config, kept, None if own is None else Path(own), read_environment(folder / ENVIRONMENT))

    def settled(self, hydra: Any) -> tuple[list[str], tuple[str, ...]]:
        """The overrides that give the run's settings, and a sentence for each that differs from what its command gives now."""
        overrides = list(self.overrides)
        # what a CPU computes depends on how many threads share it
        if not self.config["trainer"]["threads"]:
            overrides.append(f"trainer.threads={self.environment['threads']}")
        config = without_hydra(compose_overrides(hydra, command_overrides("train", overrides)))
        now = OmegaConf.to_container(config, resolve=True)
        forced, said = [], []
        for key, (before, today) in changed_keys(self.config, now).items():
            if key in {*OF_THE_NEW_RUN, *SAID_AGAIN} or key == "trainer.threads" or not has_key(self.config, key):
                continue
            forced.append(f"++{key}={grammar(before)}")
            said.append(f"{key}={before} (now {today})")
        return [*overrides, *forced], tuple(said)


def has_key(values: Mapping[str, Any], key: str) -> bool:
    """A setting that the old version did not have keeps its default."""
    for name in key.split("."):
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def grammar(value: Any) -> str:
    """A value as Hydra's grammar has it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{grammar(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(grammar, value)) + "]"
    return typed(value)
