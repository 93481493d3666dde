"""A composed config → typed sections and built parts → one `Experiment`; whatever is wrong is answered in one sentence."""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.checks import one_of, require
from gapo_cli.config.corruption import Corruption
from gapo_cli.config.data import DataConfig, PlanConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.config.sampling import EvaluationConfig, RolloutConfig, SamplingConfig
from gapo_cli.config.supervised import SupervisedConfig
from gapo_cli.config.trainer import GuardsConfig, TrainerConfig
from gapo_cli.config.typed import build_section, convert, show, typed_arguments
from gapo_cli.errors import UserError, own_lines, part_at_work, words_of
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import LossTerm, Perturbation
from gapo_cli.launching.allowed_code import ALLOW, TARGET, check_parts, entries, is_own

SECTIONS = {
    "model": ModelConfig,
    "data": DataConfig,
    "algorithm": AlgorithmConfig,
    "sampling": SamplingConfig,
    "trainer": TrainerConfig,
    "supervised": SupervisedConfig,
    "dpo": PreferenceConfig,
    "evaluation": EvaluationConfig,
    "rollout": RolloutConfig,
    "plan": PlanConfig,
    "guards": GuardsConfig,
}
# keys that a section's yaml may hold for its interpolations, beside the dataclass's fields
HELPERS = {
    "model": frozenset({"base", "prompt_tokens"}),
    "data": frozenset({"path", "repo", "repos", "on_error", "offsets", "source"}),
}
CORRUPTION, ON_ERROR = "corruption", "on_error"
"""Keys of the reward's section that are not for the reward."""
TERMS = "algorithm.terms"
"""Parts under names that the yaml chooses."""
PERTURBATION = "perturbation"
"""Parts under their names: of this group several options are chosen at once."""
PARTS = {
    "source": "data.source",
    "template": "prompt",
    "reward": "reward",
    "estimator": "estimator",
    "engine": "engine",
    "learner": "stage",
}
HEAVY = ("engine", "stage")
"""Parts whose modules import torch."""


LARGEST_SEED = 2**63 - 1
"""What torch, numpy and vLLM all take."""


def one_line(error: BaseException) -> str:
    """The first lines of an error of Hydra's or OmegaConf's, without their tables of keys and search paths."""
    lines = [line.strip() for line in words_of(error).splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not re.match(r"(full_key|object_type|reference_type|provider=|Config search path|See https)", line)
    ]
    return " ".join(kept[:3]) or type(error).__name__


def missing_keys(values: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys whose value is still `???`."""
    for key, value in values.items():
        if value == "???":
            yield f"{prefix}{key}"
        elif isinstance(value, dict):
            yield from missing_keys(value, f"{prefix}{key}.")


def build_experiment(config: DictConfig, choices: Mapping[str, str], run_dir: Path) -> Experiment:
    """The built parts and typed sections of a composed config. Raises UserError."""
    missing = next(missing_keys(OmegaConf.to_container(config, resolve=False)), None)
    if missing is not None:
        raise UserError(f"{missing}: needs a value; add {missing}=VALUE")
    verb = str(config.verb)
    values = OmegaConf.to_container(config, resolve=True)
    terms = values["algorithm"].pop("terms", None) or {}
    typed = {name: build_section(kind, values[name], name, HELPERS.get(name, frozenset())) for name, kind in SECTIONS.items()}
    check_parts(values | {TERMS: terms}, values[ALLOW])
    seed, resume = convert(values["seed"], int, "seed"), convert(values["resume"], str | None, "resume")
    require(0 <= seed <= LARGEST_SEED, f"seed={seed}: need a whole number from 0 to {LARGEST_SEED}")
    corruption = values["reward"].get(CORRUPTION)
    if corruption is not None:
        corruption = build_section(Corruption, corruption, f"reward.{CORRUPTION}")
    on_error = str(values["reward"].get(ON_ERROR, "stop"))
    one_of(f"reward.{ON_ERROR}", on_error, ("stop", "missing"))
    # the parts last: building an engine or a learner imports torch, and a mistake should be answered before that
    parts = {name: build_part(config, key, choices.get(key.split(".")[0], "")) for name, key in PARTS.items()}
    typed["algorithm"] = replace(typed["algorithm"], terms=build_terms(config, terms, choices.get("algorithm", "")))
    return Experiment(
        verb=verb,
        seed=seed,
        run_dir=run_dir,
        estimator_name=choices.get("estimator", ""),
        resume=resume,
        corruption=corruption,
        reward_on_error=on_error,
        perturbations=build_perturbations(config, values.get(PERTURBATION) or {}),
        **typed,
        **parts,
    )


def build_terms(config: DictConfig, terms: Any, choice: str) -> dict[str, LossTerm]:
    """The parts under `algorithm.terms`, in their order. Raises UserError."""
    if not isinstance(terms, Mapping):
        raise UserError(f"{TERMS}={show(terms)}: need a section with a part for each name, as {TERMS}.kl")
    built = {name: build_part(config, f"{TERMS}.{name}", choice) for name in terms}
    for name, term in built.items():
        if not isinstance(term, LossTerm):
            need = ", ".join(sorted(LossTerm.__annotations__))
            raise UserError(f"{TERMS}.{name}: {type(term).__name__} is no term of a loss; it needs {need}, and to be callable")
    return built


def build_perturbations(config: DictConfig, chosen: Mapping[str, Any]) -> dict[str, Perturbation]:
    """The perturbations that are chosen, by name. Raises UserError, for a verb that has no use for them too."""
    if chosen and config.verb != "eval":
        raise UserError(f"{PERTURBATION}=[{','.join(chosen)}]: is for `gapo eval`, which chooses by robustness=; leave it out")
    built = {name: build_part(config, f"{PERTURBATION}.{name}", name) for name in chosen}
    for name, one in built.items():
        if not callable(one):
            raise UserError(f"{PERTURBATION}.{name}: {type(one).__name__} is no perturbation; it needs to be callable")
    return built


def build_part(config: DictConfig, key: str, choice: str) -> Any:
    """Instantiates one pluggable part. Raises UserError for a target that cannot be imported or does not take what the
    yaml gives it, and for whatever else a user's own class raises; other errors of gapo's own pass as they are."""
    node = OmegaConf.select(config, key)
    group = key.split(".")[0]
    if not isinstance(node, DictConfig) or "_target_" not in node:
        choose = f"; choose one by {group}=NAME" if key in PARTS.values() else ""
        raise UserError(f"{key}: needs a _target_, the class to build{choose}")
    if key == "reward":
        node = without(node, CORRUPTION, ON_ERROR)
    if key in HEAVY and (config.verb == "prepare" or config.evaluation.rescore is not None):
        return functools.partial(instantiate, node)  # nothing has a use for it
    values = OmegaConf.to_container(node, resolve=True)
    for nested, target in entries(values, key):
        if nested.endswith(f".{TARGET}"):
            locate(target, nested)
    located = locate(node._target_, f"{key}.{TARGET}")
    typed = typed_arguments(located, values, key)
    failing = contextlib.nullcontext() if is_own(node._target_) else part_at_work(TARGET, located, f"{group}={choice}")
    with failing:
        return instantiated(node, typed, f"{group}={choice}")


def instantiated(node: DictConfig, typed: Mapping[str, Any], whose: str) -> Any:
    """The object of a node. Raises UserError, which names `whose` it is, for arguments that its class refuses."""
    try:
        return instantiate(node, **typed, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from error
        if isinstance(cause, TypeError | ValueError | HydraException):
            raise UserError(f"{whose}: {node._target_}: {one_line(cause)}") from error
        raise cause from error


def without(node: DictConfig, *keys: str) -> DictConfig:
    """The section without some of its keys; interpolations still find the tree around it."""
    bare = node.copy()
    OmegaConf.set_struct(bare, False)
    for key in keys:
        bare.pop(key, None)
    return bare


def locate(target: str, key: str) -> Any:
    """The class or function that `key`, a `_target_`, names; of gapo's own modules a class. Raises UserError where there is none."""
    module, _, attribute = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}={target}: cannot be imported ({one_line(error)})") from error
    except (Exception, SystemExit) as error:
        if is_own(target):
            raise
        raised = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"{key}={target}: cannot be imported, it raises {raised}{own_lines(error)}") from error
    if is_own(target) and not (isinstance(found, type) and is_own(f"{found.__module__}.")):
        raise UserError(f"{key}={target}: is no class of gapo's own; need one of those that conf/ names")
    return found
