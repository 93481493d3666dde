"""Checks that the sections of a config and the calls of a user's parts share."""

from __future__ import annotations

from gapo_cli.errors import UserError, did_you_mean


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise UserError(sentence)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    near = did_you_mean(str(value), allowed)
    require(value in allowed, f"{name}={value}: need one of {', '.join(allowed)}{near and '; ' + near}")


def positive(section: str, **values: float) -> None:
    for name, value in values.items():
        require(value > 0, f"{section}.{name}={value}: need a number above 0")


def is_text(value: object) -> bool:
    """Half of a surrogate pair is in a str, and in no file and no tokenizer."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_integer(value: object) -> bool:
    """Whether a value from JSON is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
