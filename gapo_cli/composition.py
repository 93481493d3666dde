"""The yaml tree and a command's overrides → one checked config → `Experiment`. With launch.py, all that knows Hydra.

Whatever is wrong in a config is answered here in one sentence that names the nearest valid choice.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from gapo_cli import config as sections
from gapo_cli.errors import UserError, did_you_mean
from gapo_cli.interfaces import Experiment
from gapo_cli.model_choice import choose_model
from gapo_cli.overrides import ESTIMATOR_ALIASES, continue_from, expand, key_of, quoted, unquoted
from gapo_cli.run_choice import AUTO, RUN_DIR, choose_run
from gapo_cli.sections import build_section, convert, typed_arguments, unknown_key
from gapo_cli.supervised_config import SupervisedConfig
from gapo_cli.targets import ALLOW, SAID_AGAIN, TARGET, TRUST, check_parts, check_settled, entries, is_own

SECTIONS = {
    "model": sections.ModelConfig,
    "data": sections.DataConfig,
    "algorithm": sections.AlgorithmConfig,
    "sampling": sections.SamplingConfig,
    "trainer": sections.TrainerConfig,
    "supervised": SupervisedConfig,
    "evaluation": sections.EvaluationConfig,
    "plan": sections.PlanConfig,
    "guards": sections.GuardsConfig,
}
# keys that a section's yaml may hold for its interpolations, beside the dataclass's fields
HELPERS = {"model": frozenset({"base", "prompt_tokens"}), "data": frozenset({"path", "repo", "on_error", "source"})}
PARTS = {"source": "data.source", "template": "prompt", "reward": "reward", "estimator": "estimator", "engine": "engine"}


class UserConfigDirectory(SearchPathPlugin):
    """Puts the folder of `--config-dir` before the shipped yaml tree."""

    directory: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.directory is not None:
            search_path.prepend("--config-dir", str(self.directory.absolute()))


def round_quarter(count: int) -> int:
    """A quarter of `count`, rounded, at least 1."""
    return max(1, round(count / 4))


def if_lora(rank: int, with_adapters: Any, without: Any) -> Any:
    """The one of two settings that goes with `model.lora.rank`."""
    return with_adapters if rank else without


def if_gpu(device: str, on_gpu: Any, without: Any) -> Any:
    """The one of two settings that goes with `trainer.device`."""
    return without if device == "cpu" else on_gpu


@contextlib.contextmanager
def open_tree(config_dir: Path | None) -> Iterator[Any]:
    """Yields Hydra over the yaml tree, with Hydra's own errors turned into UserErrors where it can."""
    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"--config-dir {config_dir}: is not a folder; name one with yaml files in it")
    for resolver in (round_quarter, if_lora, if_gpu):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    plugins = Plugins.instance()
    if UserConfigDirectory not in plugins.discover(SearchPathPlugin):
        plugins.register(UserConfigDirectory)
    UserConfigDirectory.directory = config_dir
    try:
        with initialize_config_module("gapo_cli.conf", job_name="gapo", version_base="1.3"):
            yield GlobalHydra.instance().hydra
    except HydraException as error:
        raise UserError(one_line(error.__cause__ or error)) from error
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    finally:
        UserConfigDirectory.directory = None


def one_line(error: BaseException) -> str:
    """The first lines of an error of Hydra's or OmegaConf's, without their tables of keys and search paths."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not re.match(r"(full_key|object_type|reference_type|provider=|Config search path|See https)", line)
    ]
    return " ".join(kept[:3]) or type(error).__name__


def composed_yaml(verb: str, words: Sequence[str], config_dir: Path | None = None, *, sweep: bool = False) -> str:
    """The composed config as `--print-config` shows it: resolved where every value is there, else as written."""
    words, _ = choose_model(verb, words)
    words, _ = choose_run(verb, words)
    with open_tree(config_dir) as hydra:
        config = without_hydra(compose_overrides(hydra, command_overrides(verb, words), sweep=sweep))
        complete = not any(missing_keys(OmegaConf.to_container(config, resolve=False)))
        return OmegaConf.to_yaml(config, resolve=complete)


def command_overrides(verb: str, words: Sequence[str]) -> list[str]:
    """The overrides of a command. With `resume=`, those of the run that it goes on with come first, and the run directory
    is that run's own; `resume=auto` means the run in hydra.run.dir. What lets strangers' code run is not taken over."""
    given = expand(verb, words)
    resume = next((unquoted(word.split("=", 1)[1]) for word in given if key_of(word) == "resume"), "null")
    if f"resume={resume}" == AUTO:
        resume = next((unquoted(word.split("=", 1)[1]) for word in reversed(given) if key_of(word) == RUN_DIR), "null")
    saved: list[str] = []
    if resume not in ("null", ""):
        for folder in (Path(resume), *Path(resume).parents[:2]):
            path = folder / ".hydra" / "overrides.yaml"
            if path.is_file():
                saved = [str(word) for word in OmegaConf.load(path) if key_of(str(word)) not in {"verb", *SAID_AGAIN}]
                saved.append(f"hydra.run.dir={quoted(str(folder))}")
                break
    return [*continue_from(saved, given), f"verb={verb}"]


def compose_overrides(hydra: Any, overrides: Sequence[str], sweep: bool = False) -> DictConfig:
    parsed = parse(overrides)
    check_choices(hydra, parsed, sweep)
    try:
        config = hydra.compose_config(
            config_name="config",
            overrides=list(overrides),
            run_mode=RunMode.MULTIRUN if sweep else RunMode.RUN,
        )
    except HydraException as error:
        if isinstance(error.__cause__, ConfigKeyError | ConfigAttributeError):
            raise UserError(explain_unknown_key(hydra, parsed, str(error))) from error
        raise
    trusted = any(entry.key_or_group == TRUST for entry in parsed)
    check_settled(OmegaConf.to_container(config, resolve=False), allowed_targets(parsed), trusted)
    return config


def allowed_targets(parsed: Sequence[Override]) -> list[str]:
    """The packages that the command line allows yaml files to use. Raises UserError for anything else than a list of names."""
    given = next((entry.value() for entry in reversed(parsed) if entry.key_or_group == ALLOW), [])
    if not isinstance(given, list) or not all(isinstance(name, str) and re.fullmatch(r"\w+(\.\w+)*", name) for name in given):
        raise UserError(f"{ALLOW}={given}: need names of packages, as {ALLOW}=[my_package]")
    return given


def parse(overrides: Sequence[str]) -> list[Override]:
    parsed = []
    for override in overrides:
        try:
            parsed.extend(OverridesParser.create().parse_overrides([override]))
        except HydraException as error:
            key, _, value = override.partition("=")
            raise UserError(f"{override}: cannot be read; quote the value, as in \"{key}='{value}'\"") from error
    return parsed


def check_choices(hydra: Any, parsed: Sequence[Override], sweep: bool) -> None:
    """Raises UserError for a group's unknown option, and for several values outside a sweep."""
    loader = hydra.config_loader
    for override in parsed:
        several = override.is_sweep_override()
        if several and not sweep:
            raise UserError(
                f"{override.input_line}: several values are for `gapo sweep`; a list is written {override.key_or_group}=[1,2]"
            )
        group = override.key_or_group
        options = loader.get_group_options(group)
        if not options or override.is_delete():
            continue
        values = list(override.sweep_iterator()) if several else [override.value()]
        for value in values:
            if isinstance(value, dict) or value is None:
                continue
            if not isinstance(value, list) and str(value) not in options:
                raise UserError(unknown_option(group, str(value), options))


def unknown_option(group: str, value: str, options: Sequence[str]) -> str:
    choices = sorted({*options, *(ESTIMATOR_ALIASES if group == "estimator" else ())})
    near = did_you_mean(value, choices)
    own = "; a folder or a hub name goes in by model=hf model.path=..." if group == "model" and not near else ""
    if (group, value) == ("hydra/launcher", "joblib"):
        own = "; it needs: pip install 'gapo-cli[joblib]'"
    return f"{group}={value}: unknown {group}; {near + ' ' if near else 'need one of '}({', '.join(choices)}){own}"


def explain_unknown_key(hydra: Any, parsed: Sequence[Override], message: str) -> str:
    """The sentence for Hydra's "Could not override 'KEY'"."""
    found = re.search(r"Could not override '([^']+)'", message)
    override = next((entry for entry in parsed if found and entry.key_or_group == found.group(1)), None)
    if override is None:
        return one_line(Exception(message))
    groups = [
        entry.input_line
        for entry in parsed
        if hydra.config_loader.get_group_options(entry.key_or_group) and not entry.is_sweep_override()
    ]
    tree = hydra.compose_config(config_name="config", overrides=groups, run_mode=RunMode.RUN)
    key, value = override.key_or_group, override.input_line.split("=", 1)[1]
    if key.startswith("estimator."):
        choice, setting = tree.hydra.runtime.choices["estimator"], key.split(".", 1)[1]
        has = [str(name) for name in tree.estimator if not str(name).startswith("_")]
        return (
            f"{setting}={value}: estimator={choice} has no {setting} "
            f"({'it has ' + ', '.join(has) if has else 'it has no settings'}); leave it out or choose another estimator"
        )
    keys = [*flatten(tree), *(name for name in hydra.config_loader.list_groups("") if not name.startswith("hydra"))]
    near = unknown_key(key, keys)
    return near.replace(f"{key}:", f"{key}={value}:", 1)


def flatten(tree: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a tree, sections included."""
    for key in tree:
        yield f"{prefix}{key}"
        node = tree._get_node(key)
        if isinstance(node, DictConfig) and not node._is_missing() and not node._is_none():
            yield from flatten(node, f"{prefix}{key}.")


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
    typed = {name: build_section(kind, values[name], name, HELPERS.get(name, frozenset())) for name, kind in SECTIONS.items()}
    sections.one_of("stage", values["stage"], ("rl", "sft"))
    check_parts(values, values[ALLOW])
    seed, resume = convert(values["seed"], int, "seed"), convert(values["resume"], str | None, "resume")
    sections.require(seed >= 0, f"seed={seed}: need 0 or more")
    # the parts last: building an engine imports torch, and a mistake should be answered before that
    parts = {name: build_part(config, key, choices.get(key.split(".")[0], "")) for name, key in PARTS.items()}
    return Experiment(
        verb=verb,
        seed=seed,
        run_dir=run_dir,
        estimator_name=choices.get("estimator", ""),
        stage=values["stage"],
        resume=resume,
        **typed,
        **parts,
    )


def build_part(config: DictConfig, key: str, choice: str) -> Any:
    """Instantiates one pluggable part. Raises UserError for a target that cannot be imported or does not take what the
    yaml gives it; other errors of the part pass as they are."""
    node = OmegaConf.select(config, key)
    group = key.split(".")[0]
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise UserError(f"{key}: needs a _target_, the class to build; choose one by {group}=NAME")
    if key == "engine" and config.verb == "prepare":
        return functools.partial(instantiate, node)  # engines import torch, and this verb has no use for one
    values = OmegaConf.to_container(node, resolve=True)
    for nested, target in entries(values, key):
        if nested.endswith(f".{TARGET}"):
            locate(target, nested)
    typed = typed_arguments(locate(node._target_, f"{key}.{TARGET}"), values, key)
    try:
        return instantiate(node, **typed, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from error
        if isinstance(cause, TypeError | ValueError | HydraException):
            raise UserError(f"{group}={choice}: {node._target_}: {one_line(cause)}") from error
        raise cause from error


def locate(target: str, key: str) -> Any:
    """The class or function that `key`, a `_target_`, names; of gapo's own modules a class. Raises UserError where there is none."""
    module, _, attribute = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}={target}: cannot be imported ({one_line(error)})") from error
    if is_own(target) and not (isinstance(found, type) and is_own(f"{found.__module__}.")):
        raise UserError(f"{key}={target}: is no class of gapo's own; need one of those that conf/ names")
    return found


def without_hydra(config: DictConfig) -> DictConfig:
    """The config as a stage's part of it: without Hydra's own section."""
    bare = config.copy()
    OmegaConf.set_struct(bare, False)
    del bare["hydra"]
    return bare


def combinations(overrides: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """For each job of a sweep, in the order that Hydra runs them: the overrides that are its own, and all of them.
    Nothing where no key has several values."""
    parsed = parse(overrides)
    swept = [entry for entry in parsed if entry.is_sweep_override()]
    fixed = [entry.input_line for entry in parsed if not entry.is_sweep_override()]
    if not swept:
        return []
    values = [[f"{entry.get_key_element()}={value}" for value in entry.sweep_string_iterator()] for entry in swept]
    return [(list(own), [*fixed, *own]) for own in itertools.product(*values)]
