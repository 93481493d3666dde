"""What is typed after `gapo study`: a study's name, its scale, `study.KEY=VALUE`, and settings that all of its jobs share.

A study is conf/study/NAME.yaml (a folder of --config-dir goes first), a scale conf/study/scale/NAME.yaml: what each says is
described in gapo_cli/runs/study_definition.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import gapo_cli.conf
from gapo_cli.config.typed import build_section
from gapo_cli.errors import UserError, did_you_mean
from gapo_cli.launching.overrides import continue_from, expand, key_of, paths_and_settings, unquoted
from gapo_cli.runs.study_definition import StudyDefinition

STUDIES, SCALES = Path("study"), Path("study/scale")
DEFAULT_SCALE = "nano"
TUNED = {"seeds": int, "budget": int, "delta": float, "until_decided": bool, "measure": str, "reuse": list, "only": list}
"""What `study.KEY=VALUE` may change; `only`: patterns of the settings' names."""
OF_TRAINING = ("seeds", "budget", "until_decided", "reuse", "only")
"""Those that say which jobs there are: a report over jobs that have been run cannot change them."""
LISTED = re.compile(r"""\s*('[^']*'|"[^"]*"|[^,]+)""")
"""One entry of a list: up to a comma, or in quotes, which may hold commas."""


def requested_study(words: Sequence[str], config_dir: Path | None = None) -> StudyDefinition:
    """Raises UserError for an unknown study or scale, and for settings that are what the study compares."""
    if not words or "=" in words[0]:
        raise UserError(f"gapo study: name a study first: {', '.join(names_in(STUDIES, config_dir))}")
    name, *rest = words
    values = read_yaml(STUDIES, name, "study", config_dir)
    scale = next((unquoted(word.split("=", 1)[1]) for word in reversed(rest) if key_of(word) == "scale"), DEFAULT_SCALE)
    of_scale = read_yaml(SCALES, scale, "scale", config_dir)
    of_study = (values.pop("scales", None) or {}).get(scale) or {}
    merged = {"name": name, "scale": scale, **of_scale, **values, **of_study}
    tuned, given = tuned_values([word for word in rest if key_of(word) != "scale"])
    if "seeds" in tuned and "budget" not in tuned:
        tuned["budget"] = max(tuned["seeds"], merged.get("budget", 0))
    only = tuned.pop("only", None)
    definition = build_section(StudyDefinition, {**merged, **tuned}, f"study {name}")
    if only is not None:
        definition = restricted(definition, only)
    expanded = {
        group: {one: tuple(expand("train", overrides)) for one, overrides in getattr(definition, group).items()}
        for group in ("settings", "across")
    }
    compared = {key_of(word) for group in expanded.values() for overrides in group.values() for word in overrides}
    if "seed" in compared:
        raise UserError(
            f"study {name}: a setting sets seed, which the study does; leave it out, study.seeds says how many there are"
        )
    compared.add("seed")
    given = expand("train", given)
    clash = [word for word in given if key_of(word) in compared]
    if clash:
        raise UserError(
            f"{', '.join(clash)}: is what the study sets itself; leave it out"
            + (", study.seeds=N says how many seeds" if any(key_of(word) == "seed" for word in clash) else "")
        )
    shared = continue_from(expand("train", definition.overrides), given)
    return replace(definition, overrides=tuple(shared), **expanded)


def restricted(definition: StudyDefinition, patterns: Sequence[str]) -> StudyDefinition:
    """The study with the settings whose names match one of the patterns, and the comparisons among them. A name may hold commas: where
    a shell has taken its quotes, its parts are the patterns. Raises UserError for a pattern that matches none."""
    whole = ", ".join(patterns)
    if whole in definition.settings:
        patterns = [whole]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in definition.settings):
            named = "; ".join(f"'{name}'" if "," in name else name for name in definition.settings)
            raise UserError(f"study.only={pattern}: no setting is called so; need one of {named}")
    settings = {
        name: overrides
        for name, overrides in definition.settings.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    comparisons = tuple(pair for pair in definition.comparisons if all(name in settings for name in pair))
    return replace(definition, settings=settings, comparisons=comparisons)


def report_request(words: Sequence[str]) -> tuple[list[Path], dict[str, Any]]:
    """Of `gapo study report`: the folders, and what is to be other than their study says."""
    folders, keyed = paths_and_settings(words)
    tuned, others = tuned_values(keyed)
    others += [f"study.{key}" for key in OF_TRAINING if tuned.pop(key, None) is not None]
    if others:
        raise UserError(f"{', '.join(others)}: gapo study report trains nothing; need folders and study.KEY=VALUE")
    if not folders:
        raise UserError("gapo study report: name a folder of a study or a sweep, or several runs")
    return folders, tuned


def tuned_values(
    words: Sequence[str], known: Mapping[str, type] = TUNED, verb: str = "study", what: str = "study"
) -> tuple[dict[str, Any], list[str]]:
    """`VERB.KEY=VALUE` as values of the types that are `known`, and the other words. `what`: what the verb makes."""
    tuned, others = {}, []
    for word in words:
        if not word.startswith(f"{verb}."):
            others.append(word)
            continue
        key, _, text = word.removeprefix(f"{verb}.").partition("=")
        if key not in known:
            near = did_you_mean(key, known)
            raise UserError(f"{word}: no such setting of a {what}; {near + ' ' if near else ''}need one of {', '.join(known)}")
        tuned[key] = read_value(word, text, known[key])
    return tuned, others


def read_value(word: str, text: str, kind: type) -> Any:
    if kind is list:
        return [unquoted(part.strip()) for part in LISTED.findall(text.strip("[]")) if part.strip()]
    if kind is bool:
        if text not in ("true", "false"):
            raise UserError(f"{word}: need true or false")
        return text == "true"
    try:
        value = kind(text)
    except ValueError as error:
        raise UserError(f"{word}: need a {'whole number' if kind is int else 'number'}") from error
    if kind is float and not math.isfinite(value):
        raise UserError(f"{word}: need a number")
    return value


def read_yaml(folder: Path, name: str, kind: str, config_dir: Path | None) -> dict[str, Any]:
    from yaml import YAMLError, safe_load

    for root in roots(config_dir):
        path = root / folder / f"{name}.yaml"
        if path.is_file():
            try:
                values = safe_load(path.read_text(encoding="utf-8"))
            except YAMLError as error:
                raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
            if not isinstance(values, Mapping):
                raise UserError(f"{path}: holds no settings; see conf/{folder}/ for examples")
            return dict(values)
    known = names_in(folder, config_dir)
    near = did_you_mean(name, known)
    raise UserError(f"{name}: unknown {kind}; {near + ' ' if near else 'need one of '}({', '.join(known)})")


def names_in(folder: Path, config_dir: Path | None) -> list[str]:
    return sorted({path.stem for root in roots(config_dir) for path in (root / folder).glob("*.yaml")})


def roots(config_dir: Path | None) -> list[Path]:
    return [*([config_dir] if config_dir else []), Path(gapo_cli.conf.__path__[0])]
