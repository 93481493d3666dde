"""Files of rows as people have them: JSON lines, gzip, parquet, one JSON array, UTF-16 with its mark. What else a file may be is
named, so that nobody has to guess from a complaint about its bytes."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.storage.files import parse_row, without_doubled_keys

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
"""Of the files in a folder that are read as splits."""
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
OTHERS = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\xfd7zXZ": "compressed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
    b"BZh": "compressed by bzip2; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"SQLite format 3": "an SQLite database; write its rows as JSON lines",
    b"ARROW1": "an Arrow file; write it as parquet or JSON lines",
    b"\x00\x05\x16\x07": "a Mac's resource file (AppleDouble), not data; remove it",
    b"%PDF": "a PDF; write its rows as JSON lines",
    b"\x93NUMPY": "an array of NumPy; write its rows as JSON lines",
    b"\x89HDF": "an HDF5 file; write its rows as JSON lines",
    b"\x80\x04": "a pickle of Python, which is never read, as it may hold code; write its rows as JSON lines",
    b"\x80\x05": "a pickle of Python, which is never read, as it may hold code; write its rows as JSON lines",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file; fetch it by git lfs pull",
    b"<!DOCTYPE": "a web page; download the file that it shows",
    b"<!doctype": "a web page; download the file that it shows",
    b"<html": "a web page; download the file that it shows",
}
TABLES = (".csv", ".tsv")
"""Suffixes of tables whose content tells nothing."""
BEGINNING = 32
"""Bytes that tell what a file is."""


def split_files(folder: Path) -> list[Path]:
    """The files in a folder that are read as splits, by name; hidden ones, as a Mac's `._train.jsonl`, are not among them."""
    return sorted(
        path for path in folder.iterdir() if path.name.endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()
    )


def hidden_files(folder: Path) -> list[Path]:
    """The hidden files that would be splits by their suffix."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES) and path.name.startswith("."))


def split_name(path: Path) -> str:
    """The split that a file in a folder is called after: its name without the suffix."""
    return path.name.removesuffix(next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), path.suffix))


def read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | bytes]]:
    """Yields (number from 1, row) of what a file holds: the line of a text file as bytes, which may be damaged, or the row of
    a table or an array. Blank lines are passed over. Raises DataError for a file that is no such thing."""
    try:
        with path.open("rb") as stream:
            begins = stream.read(BEGINNING)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name an existing JSON-lines file") from error
    for magic, what in OTHERS.items():
        if begins.startswith(magic):
            raise DataError(f"{path}: is {what}; gapo reads JSON lines, gzip of them, parquet and a JSON array")
    if path.suffix.lower() in TABLES:
        raise DataError(f"{path}: is a table of separated values; write its rows as JSON lines or parquet")
    if b"\0" in begins[:2] and not begins.startswith(UTF16):
        raise DataError(f"{path}: holds zero bytes, as UTF-16 without its mark does; save it as UTF-8")
    if begins.startswith(PARQUET):
        yield from _parquet(path)
        return
    lines = _lines(path, gzip.open if begins.startswith(GZIP) else open, begins)
    first = next(lines, None)
    if first is None:
        return
    if b"\0" in first[1]:
        raise DataError(f"{path}: holds zero bytes, so it is no text; unpack it if it is an archive")
    if first[1].strip() == b"{":
        raise DataError(f"{path}: holds a JSON object over several lines; write each row on one line, or all as a JSON array")
    if b"\r{" in first[1]:
        raise DataError(f"{path}: has lines that end in \\r, as on an old Mac; save it with \\n")
    if first[1].lstrip().startswith(b"[") and not _is_array_of_rows_a_line(first[1]):
        yield from _array(path, b"".join([first[1], *(line for _, line in lines)]))
        return
    yield first
    yield from lines


def row_of(line: Mapping[str, Any] | bytes) -> Mapping[str, Any]:
    """The row itself. Raises DataError with the reason where the line is none."""
    return parse_row(line) if isinstance(line, bytes) else line


def _lines(path: Path, opening: Any, begins: bytes) -> Iterator[tuple[int, bytes]]:
    try:
        with opening(path, "rb") as stream:
            if begins.startswith(UTF16):
                stream = codecs.EncodedFile(stream, "utf-8", "utf-16")
            for number, line in enumerate(stream, start=1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip():
                    yield number, text
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is a gzip file that is damaged or cut short ({error}); copy it again") from error
    except UnicodeError as error:
        raise DataError(f"{path}: is UTF-16 by its mark, and damaged ({error}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name an existing JSON-lines file") from error


def _is_array_of_rows_a_line(line: bytes) -> bool:
    """A line that is an array by itself: no row, and no array that goes on over lines."""
    try:
        return not all(isinstance(row, dict) for row in json.loads(line))
    except (ValueError, RecursionError):
        return False


def _array(path: Path, text: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        rows = json.loads(text, object_pairs_hook=without_doubled_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: begins with [ but is not a valid JSON array ({error})") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: element {number} of the array must be a JSON object, got {type(row).__name__}")
    yield from enumerate(rows, start=1)


def _parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            number = 0
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: value for name, value in row.items() if value is not None}
    except pa.ArrowException as error:
        raise DataError(f"{path}: is a parquet file that is damaged or cut short ({str(error).splitlines()[0]})") from error
