"""Paths of files as histories and example files name them."""

from __future__ import annotations


def same_file(path: str | None, other: str | None) -> bool:
    """Whether both name one file: older example files, and editors with several folders open, put the project's folder in front."""
    return path is not None and other is not None and bool({path, without_first(path)} & {other, without_first(other)} - {""})


def without_first(path: str) -> str:
    """The path without its first folder; "" where it has none."""
    return path.partition("/")[2]
