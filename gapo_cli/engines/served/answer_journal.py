"""Answers of a server, kept as they come: one JSON line each, under the hash of the request they answer.

A run that was killed reads them back and asks only for what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.storage.files import append_jsonl, read_jsonl


class AnswerJournal:
    """The answers in the file `path`, those of earlier runs included. Raises DataError for a line that is not one of a
    journal; a last line without its line break, which a killed process leaves, is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {}
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            return
        cut_torn_line(path)
        for number, row in read_jsonl(path):
            if not isinstance(row.get("key"), str) or "answer" not in row:
                raise DataError(f"{path}:{number}: not a saved answer; move the file away to ask again")
            self.answers[row["key"]] = row["answer"]

    def add(self, key: str, answer: Any) -> None:
        append_jsonl(self.path, {"key": key, "answer": answer})
        self.answers[key] = answer


def key_of(url: str, body: Mapping[str, Any]) -> str:
    """The hash of a request: where it goes and everything it says."""
    return hashlib.sha256(json.dumps([url, body], sort_keys=True).encode()).hexdigest()


def cut_torn_line(path: Path) -> None:
    """Cuts what stands after the last line break of a file."""
    with path.open("r+b") as stream:
        content = stream.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            stream.truncate(whole)
            os.fsync(stream.fileno())
