"""The yaml tree and a command's overrides → one checked config → `Experiment`. With launch.py, all that knows Hydra.

Whatever is wrong in a config is answered here in one sentence that names the nearest valid choice.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from gapo_cli.config.keys import flatten
from gapo_cli.config.typed import unknown_key
from gapo_cli.errors import UserError, did_you_mean, first_line
from gapo_cli.launching.allowed_code import ALLOW, SAID_AGAIN, TRUST, check_settled
from gapo_cli.launching.building import missing_keys, one_line
from gapo_cli.launching.model_choice import choose_model
from gapo_cli.launching.overrides import ESTIMATOR_ALIASES, continue_from, expand, key_of, quoted, unquoted
from gapo_cli.launching.perturbation_choice import with_perturbations
from gapo_cli.launching.run_choice import AUTO, choose_run
from gapo_cli.runs.claim import RUN_DIR
from gapo_cli.runs.layout import CONFIG, HYDRA, OVERRIDES

OPTIONAL = frozenset({"experiment"})
"""Groups that a run can do without."""
SEVERAL = frozenset({"experiment", "perturbation"})
"""Groups of which a run can have several options, as a list."""
LAUNCHER = "hydra/launcher"
PLUGINS = {"cores": "joblib", "slurm": "submitit_slurm", "local_ray": "ray"}
"""Our launchers, and the one of a plugin of Hydra's that each is made of."""
EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "ray": "ray"}
"""Which extra of gapo installs a plugin's launcher."""


class UserConfigDirectory(SearchPathPlugin):
    """Puts the folder of `--config-dir` before the shipped yaml tree."""

    directory: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.directory is not None:
            search_path.prepend("--config-dir", str(self.directory.absolute()))


def round_quarter(count: int) -> int:
    """A quarter of `count`, rounded, at least 1."""
    return max(1, round(count / 4))


def times(factor: float, value: float) -> float:
    """A setting that is a multiple of another."""
    return factor * value


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
    for resolver in (round_quarter, times, if_lora, if_gpu):
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


def composed_yaml(verb: str, words: Sequence[str], config_dir: Path | None = None, *, sweep: bool = False) -> str:
    """The composed config as `--print-config` shows it: resolved where every value is there, else as written."""
    words, _ = choose_model(verb, words)
    words, _ = choose_run(verb, words)
    with open_tree(config_dir) as hydra:
        overrides = with_perturbations(hydra, command_overrides(verb, words))
        config = without_hydra(compose_overrides(hydra, overrides, sweep=sweep))
        complete = not any(missing_keys(OmegaConf.to_container(config, resolve=False)))
        return OmegaConf.to_yaml(config, resolve=complete)


WRITERS = ("prepare", "rollout", "train", "eval")
"""Verbs that go on in the folder of their own run; others take settings from any."""


def command_overrides(verb: str, words: Sequence[str]) -> list[str]:
    """The overrides of a command. With `resume=`, those of the run that it goes on with come first, and the run directory
    is that run's own; `resume=auto` means the run in hydra.run.dir. What lets strangers' code run is not taken over. Raises
    UserError for a run whose settings are gone: it would go on with others."""
    given = expand(verb, words)
    typed = next((word for word in given if key_of(word) == "verb"), None)
    if typed is not None:
        raise UserError(f"{typed}: the verb is typed after gapo, as in gapo {verb}; leave it out")
    resume = next((unquoted(word.split("=", 1)[1]) for word in given if key_of(word) == "resume"), "null")
    if f"resume={resume}" == AUTO:
        resume = next((unquoted(word.split("=", 1)[1]) for word in reversed(given) if key_of(word) == RUN_DIR), "null")
    saved: list[str] = []
    if resume not in ("null", ""):
        for folder in (Path(resume), *Path(resume).parents[:2]):
            path = folder / OVERRIDES
            if path.is_file():
                words_of_run = read_overrides(path)
                other = next((word for word in words_of_run if key_of(word) == "verb" and word != f"verb={verb}"), None)
                if other is not None and verb in WRITERS:
                    raise UserError(f"resume={resume}: is a run of gapo {other.removeprefix('verb=')}, and not of gapo {verb}")
                saved = [word for word in words_of_run if key_of(word) not in {"verb", *SAID_AGAIN}]
                saved.append(f"hydra.run.dir={quoted(str(folder))}")
                break
            if (folder / CONFIG).is_file():
                raise UserError(
                    f"resume={resume}: {path} is missing, the settings to go on with; copy the run's folder {HYDRA} too, or move the "
                    "checkpoint elsewhere and give all settings again"
                )
        if not saved and verb != "train":  # training can go on from a checkpoint alone, with the settings given now
            raise UserError(f"resume={resume}: no run's settings there; name a folder that gapo {verb} wrote")
    return [*continue_from(saved, given), f"verb={verb}"]


def read_overrides(path: Path) -> list[str]:
    """The words that a run was started with, of its overrides.yaml. Raises UserError for a file that is damaged."""
    from yaml import YAMLError, safe_load

    try:
        words = safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        raise UserError(f"{path}: the words that the run was started with cannot be read ({first_line(error)})") from error
    if not isinstance(words, list) or not all(isinstance(word, str) and ("=" in word or word[:1] == "~") for word in words):
        raise UserError(f"{path}: holds no list of KEY=VALUE, the words that the run was started with; mend it")
    return words


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
        raise UserError(explain_misfit(hydra, parsed, error.__cause__ or error)) from error
    except OmegaConfBaseException as error:
        raise UserError(explain_misfit(hydra, parsed, error)) from error
    if config.hydra.output_subdir != HYDRA:
        raise UserError(
            f"hydra.output_subdir={config.hydra.output_subdir}: a run is resumed by what lies in {HYDRA}; leave it out"
        )
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


def options_of(hydra: Any, group: str) -> list[str]:
    """Of a group's name; nothing where it is the name of a setting."""
    return hydra.config_loader.repository.get_group_options(group)  # the loader's own way copies the repository each time


def check_choices(hydra: Any, parsed: Sequence[Override], sweep: bool) -> None:
    """Raises UserError for a group's unknown option, and for several values outside a sweep."""
    for override in parsed:
        several = override.is_sweep_override()
        if several and not sweep:
            raise UserError(
                f"{override.input_line}: several values are for `gapo sweep`; a list is written {override.key_or_group}=[1,2]"
            )
        group = override.key_or_group
        if "." in group or override.is_delete():  # a setting, not a group
            continue
        options = options_of(hydra, group)
        if not options:
            continue
        values = list(override.sweep_iterator()) if several else [override.value()]
        for value in values:
            if value is None:
                need = "leave it out, or name" if group in OPTIONAL else "a run needs"
                raise UserError(f"{group}=null: {need} one of {', '.join(sorted(options))}")
            typed = str(value) if several or isinstance(value, str) else override.input_line.partition("=")[2]
            check_choice(group, value, typed, options)
            if group == LAUNCHER and PLUGINS.get(str(value), str(value)) not in options:
                raise UserError(f"{LAUNCHER}={value}: needs: {install_of(PLUGINS[str(value)])}")


def check_choice(group: str, value: Any, typed: str, options: Sequence[str]) -> None:
    """Raises UserError for what is not an option of the group, nor a dictionary of its keys. `typed`: what Hydra's grammar has made
    `value` of; some words are numbers to it, or true and false."""
    if isinstance(value, list) and group in SEVERAL:
        for one in value:
            check_choice(group, one, str(one), options)
    elif not (isinstance(value, str) and value in options) and not (isinstance(value, dict) and value):
        if typed in options:
            raise UserError(f"{group}={typed}: is not read as a name; give {typed}.yaml another name")
        raise UserError(unknown_option(group, typed, options))


def unknown_option(group: str, value: str, options: Sequence[str]) -> str:
    choices = sorted({*options, *(ESTIMATOR_ALIASES if group == "estimator" else ())})
    near = did_you_mean(value, choices)
    own = "; a folder or a hub name goes in by model=hf model.path=..." if group == "model" and not near else ""
    if group == LAUNCHER and value in PLUGINS.values():
        own = f"; it needs: {install_of(value)}"
    return f"{group}={value}: unknown {group}; {near + ' ' if near else 'need one of '}({', '.join(choices)}){own}"


def install_of(plugin: str) -> str:
    return f"pip install 'gapo-cli[{EXTRAS[plugin]}]'"


def explain_unknown_key(hydra: Any, parsed: Sequence[Override], message: str) -> str:
    """The sentence for Hydra's "Could not override 'KEY'"."""
    found = re.search(r"Could not override '([^']+)'", message)
    override = next((entry for entry in parsed if found and entry.key_or_group == found.group(1)), None)
    if override is None or isinstance(override.value(), dict):
        return explain_misfit(hydra, parsed, Exception(message))
    groups = chosen_options(hydra, parsed)
    tree = hydra.compose_config(config_name="config", overrides=groups, run_mode=RunMode.RUN)
    key, value = override.key_or_group, override.input_line.split("=", 1)[1]
    if key.startswith("estimator."):
        choice, setting = tree.hydra.runtime.choices["estimator"], key.split(".", 1)[1]
        has = [str(name) for name in tree.estimator if not str(name).startswith("_")]
        return (
            f"{setting}={value}: estimator={choice} has no {setting} "
            f"({'it has ' + ', '.join(has) if has else 'it has no settings'}); leave it out or choose another estimator"
        )
    if key.startswith(("algorithm.critic", "algorithm.ppo")):
        algorithm = tree.hydra.runtime.choices["algorithm"]
        return f"{key}={value}: algorithm={algorithm} has no critic; give algorithm=ppo, or leave it out"
    keys = [
        *(key for key, _ in flatten(OmegaConf.to_container(tree))),
        *(name for name in hydra.config_loader.list_groups("") if not name.startswith("hydra")),
    ]
    near = unknown_key(key, keys)
    return near.replace(f"{key}:", f"{key}={value}:", 1)


def chosen_options(hydra: Any, parsed: Sequence[Override]) -> list[str]:
    """The overrides that choose a group's option by its name."""
    return [
        entry.input_line
        for entry in parsed
        if options_of(hydra, entry.key_or_group) and not entry.is_sweep_override() and not isinstance(entry.value(), dict)
    ]


def explain_misfit(hydra: Any, parsed: Sequence[Override], error: BaseException) -> str:
    """The sentence for an override that cannot be put into the tree, a list for a section, say: Hydra does not say which one it is."""
    chosen = chosen_options(hydra, parsed)
    for entry in parsed:
        if entry.input_line not in chosen:
            try:
                hydra.compose_config(config_name="config", overrides=[*chosen, entry.input_line], run_mode=RunMode.RUN)
            except (HydraException, OmegaConfBaseException) as own:
                said = one_line(own.__cause__ or own)
                return (
                    f"{entry.input_line}: does not fit what it would replace ({said}); --print-config shows what stands there"
                )
    return one_line(error)


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
