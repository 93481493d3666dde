"""Writing files so that a reader never sees half of one: temporary file, fsync, rename.

What cannot be written (a full disk, a read-only folder) is a StorageError, and what stood there before stays.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError, StorageError

TEMPORARY = ".tmp"
"""How the names of half-written files end; they begin with a dot."""
UNWRITABLE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "name a folder that can be written",
    errno.EPERM: "name a folder that can be written",
    errno.ENOTDIR: "name another folder",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the disk",
}
"""The system's reasons why a path cannot be written, and what to do about each."""


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns the system's refusals to write into a StorageError that names `path`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise StorageError(f"{path}: cannot be written ({os.strerror(error.errno)}); {UNWRITABLE[error.errno]}") from error


def check_writable(folder: Path) -> None:
    """Makes a folder where it is missing. Raises StorageError where no file can be written in it: said before the work whose
    result is to lie there."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=TEMPORARY):
            pass


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it replaces `path`, on failure it is removed and `path` stays.
    Raises StorageError for what cannot be written."""
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            sync(temporary)
            temporary.chmod(new_file_mode())  # mkstemp makes the file private
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def new_file_mode() -> int:
    """The permissions that any new file of this process gets."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk: a power cut must not undo a rename."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Removes what killed writers left in `folder`: half-written files."""
    for path in folder.glob(f".*{TEMPORARY}"):
        if path.is_file():
            path.unlink()


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
    """One row, flushed: what a killed process leaves is whole lines and at most one torn last line. A row that cannot be
    written whole is taken back; raises StorageError."""
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
    with storage_errors(path), path.open("ab", buffering=0) as stream:
        before = stream.tell()
        try:
            written = stream.write(line)
            while written < len(line):  # a disk that fills up takes a part first
                written += stream.write(line[written:])
        except OSError:
            stream.truncate(before)
            raise


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
        row = json.loads(line.decode("utf-8"), object_pairs_hook=without_doubled_keys)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 (byte {error.start + 1} of the line)") from error
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise DataError(f"JSON that cannot be read ({str(error).partition(';')[0]})") from error
    if not isinstance(row, dict):
        raise DataError(f"need a JSON object, got {type(row).__name__}")
    return row


def without_doubled_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises DataError for a key that is there twice: json would keep the last and say nothing."""
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise DataError(f"the key '{next(name for name in names if names.count(name) > 1)}' is there twice")
    return row


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
