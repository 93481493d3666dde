"""What is typed after `gapo lab gradients`: a rollout's folder, the laboratory's settings, and keys of the model that differ from those
in the folder's config.resolved.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gapo_cli.config.model import ModelConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.config.typed import build_section
from gapo_cli.errors import UserError
from gapo_cli.launching.allowed_code import ALLOW
from gapo_cli.launching.building import HELPERS
from gapo_cli.launching.lab_words import ESTIMATORS, make_variants, only_value, read_list
from gapo_cli.launching.overrides import key_of, paths_and_settings
from gapo_cli.runs.layout import CONFIG, ROLLOUT_FILE
from gapo_cli.stages.lab_gradients import GradientSettings

NUMBERS = ("prompts", "completions", "trials", "seed", "sketch")
OF_THE_RUN = ("model", "trainer", "sampling")
"""Sections that the folder's config gives and words may change."""
OTHER_KEYS = ("group_size", *NUMBERS, *(f"{name}.*" for name in OF_THE_RUN))
"""What may be typed beside the estimators and their settings."""
DEFAULT_TAUS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class GradientRequest:
    rollouts: Path
    model: ModelConfig
    trainer: TrainerConfig
    temperature: float
    settings: GradientSettings


def gradient_request(words: Sequence[str], config_dir: Path | None = None) -> GradientRequest:
    """Raises UserError for words that are neither a folder nor settings, and for a folder whose config cannot be read."""
    paths, keyed = paths_and_settings(words)
    if len(paths) != 1:
        raise UserError("gapo lab gradients: name one folder of gapo rollout, as outputs/rollout/TIME")
    rollouts = paths[0].parent if paths[0].name == ROLLOUT_FILE else paths[0]
    of_run = [word for word in keyed if key_of(word).split(".")[0] in OF_THE_RUN]
    given = dict(word.split("=", 1) for word in keyed if word not in of_run)
    allowed = given.pop(ALLOW, None)
    names = read_list("estimators", given.pop("estimators", ",".join(ESTIMATORS)))
    sizes = read_list("group_size", given.pop("group_size"), int) if "group_size" in given else None
    one = {key: only_value(key, read_list(key, given.pop(key), int)) for key in NUMBERS if key in given}
    variants = tuple(make_variants(names, given, config_dir, allowed, OTHER_KEYS, DEFAULT_TAUS))
    settings = GradientSettings(variants, sizes, **one)
    config = config_of(rollouts, of_run)
    return GradientRequest(
        rollouts,
        build_section(ModelConfig, config["model"], "model", HELPERS["model"]),
        build_section(TrainerConfig, config["trainer"], "trainer"),
        float(config["sampling"]["temperature"]),
        settings,
    )


def config_of(rollouts: Path, words: Sequence[str]) -> dict[str, Any]:
    """The sections OF_THE_RUN of the folder's config with `words` on top. That a stranger's code may run is for the user to say
    again, so model.trust_remote_code is not taken from a folder."""
    group = next((word for word in words if "." not in key_of(word)), None)
    if group is not None:
        raise UserError(f"{group}: names a group; give its keys, as model.path=FOLDER or model.lora.rank=16")
    path = rollouts / CONFIG
    try:
        saved = OmegaConf.to_container(OmegaConf.load(path))
        base = {name: dict(saved[name]) for name in OF_THE_RUN}
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: missing, so the model of these rollouts is not known; name a folder of gapo rollout"
        ) from error
    except (OSError, YAMLError, OmegaConfBaseException, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {error}); make the rollouts again") from error
    base["model"]["trust_remote_code"] = False
    tree = OmegaConf.create(base)
    for word in words:
        text = word.split("=", 1)[1]
        OmegaConf.update(tree, key_of(word), OmegaConf.create(f"value: {text}").value, force_add=True)
    return OmegaConf.to_container(tree)
