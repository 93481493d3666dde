"""Writing files so that a reader never sees half of one: temporary file, fsync, rename."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it replaces `path`, on failure it is removed and `path` stays."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes the file private; a finished file gets the permissions any new file would have
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(written: Path, folder: Path, previous: Path) -> None:
    """Renames `written` to `folder`. A folder cannot be renamed over another: one that stands there steps aside to
    `previous`, and comes back if the renaming fails or is interrupted."""
    if not folder.exists():
        written.rename(folder)
        return
    folder.rename(previous)
    try:
        written.rename(folder)
    except BaseException:
        previous.rename(folder)
        raise


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=True) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, row: dict) -> None:
    """One row, flushed: what a killed process leaves is whole lines and at most one torn last line."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> Iterator[tuple[int, dict]]:
    """Yields (line number from 1, row). Blank lines are passed over. Raises DataError naming file and line."""
    for number, line in read_lines(path):
        try:
            yield number, parse_row(line)
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from error


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields (line number from 1, line) of the lines that are not blank, without a byte-order mark, which some editors put
    before the first. Raises DataError naming the file."""
    try:
        with Path(path).open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name an existing JSON-lines file") from error


def parse_row(line: bytes) -> dict:
    """One line as a JSON object. Raises DataError with the reason, for the caller to say where."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 (byte {error.start + 1} of the line)") from error
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise DataError(f"JSON that cannot be read ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"need a JSON object, got {type(row).__name__}")
    return row
