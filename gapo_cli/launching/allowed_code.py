"""Which code a yaml may name. A `_target_` is called with what the yaml says beside it, so a yaml is a program; one from
somebody else's folder runs nothing but gapo's own parts, unless the command line names the packages that it may use.

Hydra's own section names classes too, has callbacks, a logging configuration that can call anything, and environment variables
that the programs started here obey.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gapo_cli.errors import UserError

ALLOW = "allow_targets"
TRUST = "model.trust_remote_code"
SAID_AGAIN = frozenset({ALLOW, TRUST})
"""Keys that let strangers' code run: never taken over from a run's folder, which may be a stranger's."""
TARGET = "_target_"
ROOMS = (
    "tasks", "prompts", "rewards", "perturbations", "estimators", "engines", "models", "training.learners", "training.objectives",
)  # fmt: skip
OWN = tuple(f"gapo_cli.{room}" for room in ROOMS)
"""The rooms that pluggable parts live in; of these their classes only, no function that writes or removes files."""
HYDRAS = ("hydra._internal.core_plugins", "hydra_plugins")
"""Launchers and sweepers, shipped with Hydra or installed."""
CALLING = ("launcher", "sweeper", "callbacks", "job_logging", "hydra_logging")
"""Of Hydra's section: what it makes objects of."""
LOGGING = ("logging", "colorlog")
RESOLVER = re.compile(r"\$\{[^}]*:")
"""An interpolation that computes a value, which could be a target."""


def check_settled(values: Mapping[str, Any], allowed: Sequence[str], trusted: bool) -> None:
    """`values`: the composed config, unresolved; `allowed`, `trusted`: what the command line says. Raises UserError where a yaml
    says more, and for code in Hydra's section."""
    if list(values[ALLOW]) != list(allowed):
        raise UserError(
            f"{ALLOW}={values[ALLOW]}: is set in a yaml; only the command line can allow code that is not gapo's own"
        )
    model = values["model"]
    if not trusted and not (isinstance(model, Mapping) and model.get("trust_remote_code", False) is False):
        raise UserError(f"{TRUST}: is set in a yaml; only the command line can let a model's own code run, by {TRUST}=true")
    check_hydra(values["hydra"], allowed)


def check_hydra(section: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """`section`: Hydra's, unresolved. Raises UserError for code in it that is neither Hydra's own nor `allowed`."""
    if section.get("job", {}).get("env_set"):
        raise UserError(
            "hydra.job.env_set: environment variables can make programs run code; set them yourself, before the command"
        )
    for name in CALLING:
        for key, value in entries(section.get(name), f"hydra.{name}"):
            last = key.rsplit(".", 1)[-1]
            if isinstance(value, str) and (
                RESOLVER.search(value) or (value.startswith("ext://") and not value.startswith("ext://sys.std"))
            ):
                raise UserError(f"{key}={value}: could resolve to any code; write the value out")
            if last == TARGET:
                require_inside(key, value, (*HYDRAS, *allowed))
            elif last in ("()", "class"):
                require_inside(key, value, (*LOGGING, *allowed))


def check_parts(values: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """`values`: the rest of the config, resolved. Raises UserError for a `_target_`, however deep, that is neither a class
    of gapo's own rooms nor `allowed`, and for a part that trusts a model's code where the model's section does not."""
    trusted = values["model"].get("trust_remote_code") is True
    for key, value in entries(values, ""):
        if key.endswith("trust_remote_code") and value is not False and not trusted:
            raise UserError(f"{key}={value}: lets a model's own code run; need ${{{TRUST}}}, which the command line sets")
        if key.rsplit(".", 1)[-1] == TARGET:
            require_inside(key, value, (*OWN, *allowed))


def require_inside(key: str, target: Any, packages: Sequence[str]) -> None:
    if not isinstance(target, str) or not is_inside(target, packages):
        package = str(target).split(".", 1)[0]
        raise UserError(
            f"{key}={target}: is code that is not gapo's own; if you trust it, say so on the command line by {ALLOW}=[{package}]"
        )


def is_inside(target: str, packages: Sequence[str]) -> bool:
    return any(target.startswith(f"{package}.") for package in packages)


def is_own(target: str) -> bool:
    return is_inside(target, OWN)


def entries(values: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every dotted key of nested mappings and lists, with its value where that is neither."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from entries(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from entries(value, f"{prefix}.{index}")
    else:
        yield prefix, values
