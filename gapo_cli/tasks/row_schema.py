"""What a row of a user's own tasks may hold: every field of `EditTask` and its type, checked before a task is made of it.

docs/reference/tasks.md has the same as a table. What passes here can be stored, rendered and compared; what does not is answered
with the field's name and what it must be.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gapo_cli.config.checks import is_integer
from gapo_cli.edits.diffs import hunks_of
from gapo_cli.errors import DataError, did_you_mean
from gapo_cli.records import LINE_ENDS

# half of a UTF-16 pair: JSON can spell it, no file can hold it
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
HISTORY_KINDS = ("edit", "open", "rename")
HINT_KINDS = ("diagnostic", "related_file", "outline", "note")
DEEPEST = 100  # far below what JSON's reader and writer can do

Check = Callable[[str, Any], None]
"""Called with the field's name as a message says it, and the value. Raises DataError."""


def wrong(name: str, need: str, value: Any) -> DataError:
    got = {type(None): "null", str: "a string", list: "an array", dict: "an object", bool: "true or false"}.get(
        type(value), "a number"
    )
    return DataError(f"field '{name}' must be {need}, got {got}")


def text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise wrong(name, "a string", value)
    if not value.isascii() and LONE_SURROGATE.search(value):
        raise DataError(f"field '{name}' has half of a surrogate pair (\\ud800 to \\udfff), which is no character")


def whole(name: str, value: Any) -> None:
    if not is_integer(value):
        raise wrong(name, "a whole number", value)


def flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise wrong(name, "true or false", value)


def offsets(name: str, value: Any) -> None:
    if not (isinstance(value, list | tuple) and len(value) == 2 and all(map(is_integer, value))):
        raise DataError(f"field '{name}' must be [start, end], two whole numbers")


def rows(name: str, value: Any) -> None:
    offsets(name, value)
    if not 0 <= value[0] <= value[1]:
        raise DataError(f"field '{name}' must be [first, end] with 0 <= first <= end, got {list(value)}")


def line_end(name: str, value: Any) -> None:
    if value not in LINE_ENDS:
        raise DataError(f"field '{name}' must be {' or '.join(map(json.dumps, LINE_ENDS))}")


def anything(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise wrong(name, "an object", value)
    _storable(name, value)


def _storable(name: str, value: Any, depth: int = 1) -> None:
    if depth > DEEPEST:
        raise DataError(f"field '{name.split('.')[0]}' is nested more than {DEEPEST} deep")
    if isinstance(value, str):
        text(name, value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            text(name, key)
            _storable(f"{name}.{key}", inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _storable(name, inner, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"field '{name}' holds NaN or an infinity, which JSON does not have")


def texts_by_name(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise wrong(name, "an object", value)
    for key, inner in value.items():
        text(name, key)
        text(f"{name}.{key}", inner)


@dataclass(frozen=True)
class OneOf:
    allowed: tuple[str, ...]

    def __call__(self, name: str, value: Any) -> None:
        if value not in self.allowed:
            near = did_you_mean(str(value), self.allowed)
            raise DataError(f"field '{name}' must be {' or '.join(self.allowed)}{near and '; ' + near}")


@dataclass(frozen=True)
class OrNull:
    check: Check

    def __call__(self, name: str, value: Any) -> None:
        if value is not None:
            self.check(name, value)


@dataclass(frozen=True)
class Array:
    of: Check

    def __call__(self, name: str, value: Any) -> None:
        if not isinstance(value, list | tuple):
            raise wrong(name, "an array", value)
        for number, inner in enumerate(value):
            self.of(f"{name}[{number}]", inner)


@dataclass(frozen=True)
class Fields:
    """An object with these fields and no others; `needed` must be there."""

    checks: Mapping[str, Check]
    needed: tuple[str, ...] = ()

    def __call__(self, name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise wrong(name, "an object", value)
        path = f"{name}." if name else ""
        for key in self.needed:
            if key not in value:
                raise DataError(f"field '{path}{key}' is missing")
        for key, inner in value.items():
            if key not in self.checks:
                near = did_you_mean(key, self.checks) or f"there are {', '.join(self.checks)}"
                raise DataError(f"field '{path}{key}' is unknown; {near}")
            self.checks[key](f"{path}{key}", inner)


SOURCE = Fields(
    {
        "dataset": text,
        "split": text,
        "row": OrNull(whole),
        "repo": OrNull(text),
        "revision": OrNull(text),
        "licence": OrNull(text),
    },
    needed=("dataset", "split"),
)
EVENT_FIELDS = Fields(
    {"kind": OneOf(HISTORY_KINDS), "path": text, "diff": text, "old_path": OrNull(text), "predicted": flag},
    needed=("kind", "path"),
)


def history_event(name: str, value: Any) -> None:
    """A rename says from where, and an edit's diff has at least one hunk or is empty."""
    EVENT_FIELDS(name, value)
    if value["kind"] == "rename" and not value.get("old_path"):
        raise DataError(f"field '{name}.old_path' is missing; a rename needs it")
    if value["kind"] == "edit" and value.get("diff", "").strip() and not hunks_of(value["diff"]):
        raise DataError(f"field '{name}.diff' is no unified diff: no line of it begins with + or -")


HINT = Fields(
    {
        "kind": OneOf(HINT_KINDS),
        "path": OrNull(text),
        "text": text,
        "rows": OrNull(rows),
        "order": whole,
        "source": OrNull(text),
        "file_rows": OrNull(whole),
        "snippet": OrNull(text),
    },
    needed=("kind", "path", "text"),
)
ROW = Fields(
    {
        "id": text,
        "source": SOURCE,
        "language": text,
        "path": text,
        "excerpt": text,
        "editable": offsets,
        "target": text,
        "cursor": OrNull(offsets),
        "at_file_start": flag,
        "history": Array(history_event),
        "hints": Array(HINT),
        "system": OrNull(text),
        "instruction": OrNull(text),
        "alternatives": Array(text),
        "rejected": Array(text),
        "assertions": OrNull(text),
        "tests": OrNull(text),
        "labels": texts_by_name,
        "raw": OrNull(anything),
        "cursor_after": OrNull(whole),
        "no_edit": flag,
        "line_ends": OrNull(line_end),
    },
    needed=("id", "source", "language", "path", "excerpt", "editable", "target"),
)


def check_row(row: Mapping[str, Any]) -> None:
    """Raises DataError naming the first field that is missing, unknown or of another type."""
    ROW("", row)
