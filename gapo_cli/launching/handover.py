"""What is typed after `gapo handover verl`: settings, and the folder to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gapo_cli.errors import UserError
from gapo_cli.integrations.verl_settings import Cluster
from gapo_cli.interfaces import Display
from gapo_cli.launching.building import CORRUPTION, ON_ERROR, build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.runs.claim import folder_named

TRAINERS = ("verl",)


def check_trainer(name: str) -> None:
    if name not in TRAINERS:
        raise UserError(f"gapo handover {name}: need one of {', '.join(TRAINERS)}")


def hand_over(words: Sequence[str], nodes: int, gpus: int, display: Display, config_dir: Path | None = None) -> Path:
    """Writes the folder that is named among the words. Raises UserError."""
    from gapo_cli.integrations.verl_folder import PartsAsWritten
    from gapo_cli.stages.handover import hand_over as write

    settings, folder = settings_and_folder(words)
    cluster = Cluster(nodes, gpus)
    with open_tree(config_dir) as hydra:
        config = compose_overrides(hydra, command_overrides("train", settings))
        bare = without_hydra(config)
        experiment = build_experiment(bare, config.hydra.runtime.choices, Path())
        parts = PartsAsWritten(*(part_of(bare, key) for key in ("prompt", "reward", "estimator")))
    return write(experiment, parts, cluster, folder, display)


def take_back(source: Path, words: Sequence[str], display: Display) -> Path:
    """`words`: at most the name of a new folder. Raises UserError."""
    from gapo_cli.stages.handover import take_back as write

    if len(words) > 1 or any("=" in word for word in words):
        raise UserError(
            f"gapo handover verl --back {source}: takes the name of one new folder and no settings, not {' '.join(words)}"
        )
    return write(source, folder_named("FOLDER", words[0]) if words else None, display)


def settings_and_folder(words: Sequence[str]) -> tuple[list[str], Path]:
    """The words with and the one without `=`. Raises UserError where there is not exactly one."""
    folders = [word for word in words if "=" not in word and not word.startswith("~")]
    if len(folders) != 1:
        named = f", not {' and '.join(folders)}" if folders else ""
        raise UserError(
            f"gapo handover verl: name one new folder{named}, as in `gapo handover verl model=qwen-coder-7b my_run`"
        )
    return [word for word in words if word != folders[0]], folder_named("FOLDER", folders[0])


def part_of(config: DictConfig, key: str) -> dict:
    """A part's section with every value written out."""
    values = OmegaConf.to_container(config[key], resolve=True)
    return {name: value for name, value in values.items() if name not in (CORRUPTION, ON_ERROR)}
