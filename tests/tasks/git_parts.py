"""Repositories that tests make with git commands, away from the machine's own git settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

START = 1_600_000_000
"""The first commit's time, 2020-09-13; each next one is a day later."""


class Repository:
    """A work tree in `folder`, made where there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits = 0
        if not folder.exists():
            folder.mkdir(parents=True)
            self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, stdin: bytes | None = None, **environment: str) -> str:
        """What a command prints, stripped."""
        return self.output(*arguments, stdin=stdin, **environment).decode(errors="surrogateescape").strip()

    def output(self, *arguments: str, stdin: bytes | None = None, **environment: str) -> bytes:
        moment = f"{START + 86_400 * self.commits} +0000"
        settings = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder.parent),
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": moment,
            "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": moment,
        }  # fmt: skip
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, input=stdin, env=settings | environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def write(self, path: str | bytes, content: str | bytes) -> None:
        where = os.path.join(os.fsencode(self.folder), os.fsencode(path))
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)

    def commit(self, subject: str = "change", **files: str | bytes) -> str:
        """Writes NAME_py="..." as NAME.py, then commits all that changed. Returns the commit's id."""
        for name, content in files.items():
            self.write(name.replace("__", "/").replace("_py", ".py"), content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        self.commits += 1
        return self.git("rev-parse", "HEAD")


def numbered(count: int, **changed: str) -> str:
    """Lines "line_1 = 1" and so on, far enough alike to be told apart; `L3="x"` puts x in the third line's place."""
    return "".join(changed.get(f"L{number}", f"line_{number} = {number}") + "\n" for number in range(1, count + 1))
