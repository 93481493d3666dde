"""Files of the repositories that examples name, from clones on this machine. Nothing is fetched and nothing of them is run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Self

from gapo_cli.errors import DataError
from gapo_cli.tasks.git.git_reader import GitReader

ADDRESS = re.compile(r"(?:https?://[^/]+/|git@[^:]+:|ssh://[^/]+/)(?:.*/)?([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
ADDRESSES = "https://HOST/OWNER/NAME or git@HOST:OWNER/NAME"
LARGEST_FILE = 4_000_000


def owner_and_name(address: str) -> tuple[str, str] | None:
    """Of the repository at an address, None for what is no address."""
    found = ADDRESS.fullmatch(address)
    return None if found is None or ".." in found.groups() else (found[1], found[2])


class Clones:
    """A context manager over a folder with clones: `NAME`, `OWNER/NAME`, or either with `.git` behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open = contextlib.ExitStack()
        self._readers: dict[Path, GitReader] = {}
        self._commits: dict[tuple[Path, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def commit(self, address: str, revision: str) -> str:
        """The id of the commit that a revision stands for. Raises DataError where there is no such clone or it lacks it."""
        return self._commit(self.find(address), revision)

    def files(self, address: str, revision: str) -> Callable[[str], str | None]:
        """Reads files of that revision. Raises DataError where there is no such clone or it lacks the revision."""
        clone = self.find(address)
        commit = self._commit(clone, revision)
        reader = self._readers[clone]

        def read(path: str) -> str | None:
            content = reader.file(commit, path)
            try:
                return None if content is None else content.decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path} is not UTF-8 at revision {revision}") from error

        return read

    def _commit(self, clone: Path, revision: str) -> str:
        if clone not in self._readers:
            self._readers[clone] = self._open.enter_context(GitReader(clone, LARGEST_FILE))
        if (clone, revision) not in self._commits:
            try:
                self._commits[clone, revision] = self._readers[clone].resolve(revision)
            except DataError as error:
                raise DataError(f"its revision {revision} is not in {clone}; fetch it there") from error
        return self._commits[clone, revision]

    def find(self, address: str) -> Path:
        """The clone of the repository at an address."""
        found = owner_and_name(address)
        if found is None:
            raise DataError(f"its repository_url {address!r} is no address such as {ADDRESSES}")
        owner, name = found
        for place in (f"{owner}/{name}", name):
            for ending in ("", ".git"):
                clone = self.folder / (place + ending)
                if (clone / ".git").exists() or (clone / "HEAD").is_file():
                    return clone
        raise DataError(
            f"its repository {owner}/{name} is not under data.repos={self.folder}; clone it to {self.folder / name}"
        )
