"""What is typed after `gapo lab`: rollouts, and settings that make estimators; each of these may have several values.

`tau=0.3,0.5`, or any other setting of an estimator, goes to the estimators that have it. Estimators come from the yaml tree, a
user's own included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gapo_cli.config.corruption import Corruption, check_kind, check_probability
from gapo_cli.errors import UserError, did_you_mean
from gapo_cli.lab.laboratory import LabSettings
from gapo_cli.lab.replay import Variant
from gapo_cli.launching.allowed_code import ALLOW, check_parts
from gapo_cli.launching.building import build_part
from gapo_cli.launching.composition import compose_overrides, open_tree
from gapo_cli.launching.overrides import paths_and_settings

ESTIMATORS = ("grpo", "gapo", "median")
TAUS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
NUMBERS = {"group_size": int, "trials": int, "seed": int, "smallest_pool": int, "corruption": float}
ONE_VALUE = ("trials", "seed", "smallest_pool")
DEFAULT_CORRUPTIONS = (0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class LabRequest:
    rollouts: tuple[Path, ...]
    settings: LabSettings


def lab_request(words: Sequence[str], config_dir: Path | None = None) -> LabRequest:
    """Raises UserError for words that are neither rollouts nor settings."""
    rollouts, keyed = paths_and_settings(words)
    if not rollouts:
        raise UserError("gapo lab: name a rollouts.parquet or a run's folder, as outputs/rollout/TIME")
    given = dict(word.split("=", 1) for word in keyed)
    allowed = given.pop(ALLOW, None)
    names = read_list("estimators", given.pop("estimators", ",".join(ESTIMATORS)))
    kinds = read_list("kind", given.pop("kind", "flip"))
    numbers = {key: read_list(key, given.pop(key), kind) for key, kind in NUMBERS.items() if key in given}
    one = {key: only_value(key, numbers[key]) for key in ONE_VALUE if key in numbers}
    variants = make_variants(names, given, config_dir, allowed, {"kind", *NUMBERS})
    probabilities = numbers.get("corruption", DEFAULT_CORRUPTIONS)
    for kind in kinds:
        check_kind("kind", kind)
    for probability in probabilities:
        check_probability("corruption", probability)
    # the rewards as they are, probability 0, are there in any case
    corruptions = tuple(Corruption(kind, probability) for kind in kinds for probability in probabilities if probability > 0)
    return LabRequest(tuple(rollouts), LabSettings(tuple(variants), numbers.get("group_size"), corruptions, **one))


def read_list(key: str, text: str, kind: Callable[[str], Any] = str.strip) -> tuple[Any, ...]:
    """The values between the commas of KEY=A,B. `kind`: what each is read as, a name, int or float. Raises UserError for what are
    no numbers, and for a value that is there twice, which would be counted as two."""
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        need, example = ("whole numbers", "4,8") if kind is int else ("numbers", "0.3,0.5")
        raise UserError(f"{key}={text}: need {need}, as {key}={example}") from error
    repeated = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if repeated is not None:
        raise UserError(f"{key}={text}: {repeated} is there twice; name each value once")
    return values


def only_value(key: str, values: Sequence[Any]) -> Any:
    """Raises UserError where a key that takes one value has several."""
    if len(values) != 1:
        raise UserError(f"{key}: need one value")
    return values[0]


def make_variants(
    names: Sequence[str],
    swept: Mapping[str, str],
    config_dir: Path | None,
    allowed: str | None,
    other_keys: Collection[str],
    taus: Sequence[float] = TAUS,
) -> list[Variant]:
    """Each estimator at each of its settings. `swept`: of a setting, its numbers as typed; `taus`: where it has none of tau.
    `other_keys`: what else the command takes, for a message. Raises UserError for an unknown estimator, for a setting that none has,
    and for what are no numbers."""
    estimators = build_estimators(names, config_dir, allowed)
    has = {name: {field.name for field in fields(one)} if is_dataclass(one) else set() for name, one in estimators.items()}
    for key in swept:
        if not any(key in own for own in has.values()):
            known = sorted({"estimators", *other_keys, *itertools.chain(*has.values())})
            near = did_you_mean(key, known)
            raise UserError(
                f"{key}: none of {', '.join(names)} has it; {near + ' ' if near else ''}need one of {', '.join(known)}"
            )
    varied: dict[str, Sequence[float]] = {"tau": taus, **{key: read_list(key, text, float) for key, text in swept.items()}}
    variants = []
    for name, estimator in estimators.items():
        keys = [key for key in varied if key in has[name]]
        for values in itertools.product(*(varied[key] for key in keys)):
            settings = dict(zip(keys, values, strict=True))
            made = replace(estimator, **settings) if settings else estimator
            words = " ".join([name, *(f"{key}={value:g}" for key, value in settings.items())])
            variants.append(Variant(words, name, made, tuple(settings.items())))
    return variants


def build_estimators(names: Sequence[str], config_dir: Path | None, allowed: str | None) -> dict[str, Any]:
    built = {}
    with open_tree(config_dir) as hydra:
        for name in names:
            words = [f"estimator={name}", "verb=rollout", *([f"{ALLOW}={allowed}"] if allowed else [])]
            config = compose_overrides(hydra, words)
            check_parts({"model": {}, "estimator": OmegaConf.to_container(config.estimator)}, list(config[ALLOW]))
            built[name] = build_part(config, "estimator", name)
    return built
