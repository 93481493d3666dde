"""Plain values to typed dataclasses, with one sentence for whatever does not fit.

OmegaConf's structured configs are not used for this: frozen dataclasses inside one another become read-only nodes that
cannot be merged into, and their errors name neither the whole key nor what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gapo_cli.errors import UserError, did_you_mean

Section = TypeVar("Section")


def build_section(kind: type[Section], values: Any, name: str, helpers: frozenset[str] = frozenset()) -> Section:
    """`kind(**values)` with every value checked against its type. `name` is the section's key in messages; `helpers` are
    keys that the yaml may have beside the fields, for its interpolations. Raises UserError."""
    if not isinstance(values, Mapping):
        raise UserError(f"{name}={show(values)}: need a section with {', '.join(field_types(kind))}")
    allowed = field_types(kind)
    for key in values:
        if key not in allowed and key not in helpers:
            raise UserError(unknown_key(f"{name}.{key}", [f"{name}.{field}" for field in allowed]))
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    for key in required:
        if key not in values:
            # not KEY=VALUE: a key that a section lacks cannot be set by itself
            raise UserError(f"{name}.{key}: needs a value; {name} needs {', '.join(required)}")
    typed = {key: convert(values[key], allowed[key], f"{name}.{key}") for key in values if key in allowed}
    place, _, own = name.rpartition(".")
    try:
        return kind(**typed)
    except UserError as error:
        if not place or not str(error).startswith(f"{own}."):
            raise
        raise UserError(f"{place}.{error}") from error  # a section that stands in several places knows its own name alone


def typed_arguments(kind: Any, values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Of what a pluggable part is about to be called with, the plain values (`is_plain`) as their fields' types, where the
    part is a dataclass; other parts check themselves. Raises UserError."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return {}
    allowed = field_types(kind)
    typed = {}
    for key, value in values.items():
        if key.startswith("_") and key.endswith("_"):
            continue  # Hydra's own: _target_, _partial_
        if key not in allowed:
            raise UserError(unknown_key(f"{name}.{key}", [f"{name}.{field}" for field in allowed]))
        if is_plain(allowed[key]):
            typed[key] = convert(value, allowed[key], f"{name}.{key}")
    return typed


def is_plain(kind: Any) -> bool:
    """int, float, bool, str, Path, a tuple of such, or one of these or None: what `convert` reads in one way only."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(kind) if part is not types.NoneType]
        return len(parts) == 1 and is_plain(parts[0])
    if typing.get_origin(kind) is tuple:
        return all(part is Ellipsis or is_plain(part) for part in typing.get_args(kind))
    return kind in SCALARS


def field_types(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


NAMED = 3
"""Keys of the same leaf that a sentence names."""


SLIP = 0.8
"""Likeness of two names from which one is the other with a slip of the finger."""


def unknown_key(key: str, keys: list[str]) -> str:
    """The sentence for a key that does not exist. One letter wrong is looked for in the key's own section first; a bare leaf name
    (`steps`) finds the keys that end in it."""
    section, _, leaf = key.rpartition(".")
    siblings = {known.rpartition(".")[2]: known for known in keys if section and known.rpartition(".")[0] == section}
    slip = difflib.get_close_matches(leaf, siblings, n=1, cutoff=SLIP)
    if slip:
        return f"{key}: unknown key; did you mean {siblings[slip[0]]}?"
    near = [known for known in keys if known.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    hint = (
        f"did you mean {' or '.join(near)}?"
        if len(near) == 1 or ("." not in key and 1 < len(near) <= NAMED)
        else did_you_mean(key, keys)
    )
    return f"{key}: unknown key; {hint or 'see the keys with --print-config'}"


def convert(value: Any, kind: Any, name: str) -> Any:
    """`value` as `kind`: int, float, bool, str, Path, tuple[...], Mapping[str, ...], a dataclass, or any of these or None or a Literal
    word; Any is taken as it is, and so is an instance of the dataclass."""
    if kind is Any:
        return value
    words: tuple[str, ...] = ()
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = typing.get_args(kind)
        words = tuple(word for part in parts for word in typing.get_args(part) if typing.get_origin(part) is typing.Literal)
        if value in words or (value is None and types.NoneType in parts):
            return value
        kind = next(part for part in parts if part is not types.NoneType and typing.get_origin(part) is not typing.Literal)
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else build_section(kind, value, name)
    if typing.get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise UserError(f"{name}={show(value)}: need a section of names, each with its value")
        _, of = typing.get_args(kind)
        return {show(key): convert(item, of, f"{name}.{show(key)}") for key, item in value.items()}
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        if parts[-1] is Ellipsis:
            if not isinstance(value, list | tuple):
                raise UserError(f"{name}={show(value)}: need a list, {name}=[...]")
            parts = (parts[0],) * len(value)
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            raise UserError(f"{name}={show(value)}: need {len(parts)} values, {name}=[{','.join('...' for _ in parts)}]")
        return tuple(convert(item, part, name) for item, part in zip(value, parts, strict=True))
    need, accepts, make = SCALARS[kind]
    if not accepts(value):
        raise UserError(f"{name}={show(value)}: need {' or '.join((need, *words))}")
    return make(value)


def show(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(show(item) for item in value)}]"
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


def is_number(value: Any) -> bool:
    """Finite, and no whole number that no float can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_whole(value: Any) -> bool:
    return is_number(value) and math.isfinite(value) and value == int(value)


def is_text(value: Any) -> bool:
    return isinstance(value, str | Path) or (is_number(value) and not isinstance(value, bool))


SCALARS: dict[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    int: ("a whole number", is_whole, int),
    float: ("a number", is_number, float),
    bool: ("true or false", lambda value: isinstance(value, bool), bool),
    str: ("a text", is_text, str),
    Path: ("a path", is_text, lambda value: Path(str(value))),
}
