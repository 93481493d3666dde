"""Commits, changed files, patches and blobs of a git repository, read by git's plumbing through a private stand-in
(gapo_cli/tasks/git/git_folder.py). Nothing of the work tree is looked at, only committed objects."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from gapo_cli.errors import DataError
from gapo_cli.tasks.git.diff_hunks import BlobPatch, read_patches
from gapo_cli.tasks.git.git_folder import GitFolder, find_git_folder, git_program, make_stand_in

# -l: git pairs at most so many new files with deleted ones, since the time grows with the square
_DIFF_TREE = (
    "diff-tree", "--stdin", "-r", "-M", "-l400", "--no-ext-diff", "--no-textconv", "--no-color", "--diff-algorithm=histogram",
    "--indent-heuristic", "--src-prefix=a/", "--dst-prefix=b/", "--full-index",
)  # fmt: skip
_RAW = re.compile(rb":(\d{6}) (\d{6}) ([0-9a-f]+) ([0-9a-f]+) ([A-Z])\d*")

REGULAR = frozenset({"100644", "100755"})
SYMLINK, SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True)
class Commit:
    """`time`: the committer's clock, seconds since 1970. `subject`: the message's first paragraph in one line."""

    id: str
    parents: tuple[str, ...]
    time: int
    subject: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """`status`: M(odified), A(dded), D(eleted), R(enamed), T(ype changed). Paths as bytes; `old_path` differs from
    `path` in a rename only."""

    status: str
    old_mode: str
    new_mode: str
    old: str
    new: str
    old_path: bytes
    path: bytes


class GitReader:
    """A context manager. Every method raises DataError where git fails."""

    def __init__(self, path: Path, largest_file: int) -> None:
        self.source: GitFolder = find_git_folder(path)
        self.largest_file = largest_file
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            self._folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="gapo-git-")))
            self._environment = make_stand_in(self.source, self._folder, self.largest_file)
            self._cat_files: dict[str, subprocess.Popen[bytes]] = {}
            self._complaints: dict[str, IO[bytes]] = {}
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def resolve(self, revision: str) -> str:
        """The id of the commit that a branch, tag or other name stands for."""
        command = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
        done = self._run(command, check=False)
        found = done.stdout.decode(errors="replace").strip()
        if done.returncode == 0 and found:
            return found
        if self._run(["rev-parse", "--verify", "--quiet", "--end-of-options", revision], check=False).stdout:
            raise self._failure(f"{revision} is no commit that can be read")
        if revision == "HEAD":
            raise DataError(
                f"data.repo={self.source.path}: has no commits on its current branch; commit something, "
                "or name a branch by data.source.revision=NAME"
            )
        raise DataError(
            f"data.source.revision={revision}: no such commit in {self.source.path}; name a branch, a tag or a commit id"
        )

    def git_version(self) -> str:
        """As "2.39"."""
        words = self._run(["version"]).stdout.decode().split()
        return ".".join(words[2].split(".")[:2])

    def commits(self, revision: str, newest: int | None = None) -> list[Commit]:
        """Parents before children, else by time. `newest`: only so many of the newest ones."""
        command = ["rev-list", "--reverse", "--date-order", "--encoding=UTF-8", "--format=%P%x09%ct%x09%s"]
        command += [f"--max-count={newest}"] if newest is not None else []
        lines = self._run([*command, revision, "--"]).stdout.split(b"\n")
        found = []
        for header, row in zip(lines[0::2], lines[1::2], strict=False):
            parents, seconds, subject = row.decode("utf-8", "replace").split("\t", 2)
            found.append(Commit(header.decode().removeprefix("commit "), tuple(parents.split()), int(seconds or 0), subject))
        return found

    def changed_files(self, commits: Sequence[str]) -> Iterator[tuple[str, list[FileChange]]]:
        """What each commit changed against its only parent, in the order of the new paths; commits that change nothing
        are left out."""
        with self._stream([*_DIFF_TREE, "-z", "--raw"], commits) as stream:
            commit, changes = None, []
            fields = _split_nul(stream)
            for field in fields:
                entry = _RAW.fullmatch(field)
                if entry is None:
                    if commit is not None:
                        yield commit, changes
                    commit, changes = field.decode(), []
                    continue
                old_mode, new_mode, old, new, status = (group.decode() for group in entry.groups())
                old_path = next(fields, b"")
                path = next(fields, b"") if status in "RC" else old_path
                changes.append(FileChange(status, old_mode, new_mode, old, new, old_path, path))
            if commit is not None:
                yield commit, changes

    def patches(self, commits: Sequence[str]) -> Iterator[tuple[str, list[BlobPatch]]]:
        """The patches of each commit's modified and renamed files, without context lines."""
        with self._stream([*_DIFF_TREE, "-p", "-U0", "--diff-filter=MR"], commits) as stream:
            yield from read_patches(stream)

    def root_files(self, revision: str) -> dict[str, str]:
        """Names of the plain files at the top of a commit's tree → blob ids."""
        rows = self._run(["ls-tree", "-z", revision]).stdout.split(b"\0")
        entries = (row.split(b"\t", 1) for row in rows if row)
        split = ((*attributes.decode().split(), name) for attributes, name in entries)
        return {name.decode("utf-8", "replace"): blob for mode, kind, blob, name in split if mode in REGULAR}

    def paths(self, revision: str) -> list[str]:
        """Of all plain files of a commit's tree."""
        rows = self._run(["ls-tree", "-r", "-z", revision]).stdout.split(b"\0")
        entries = (row.split(b"\t", 1) for row in rows if row)
        return [path.decode("utf-8", "replace") for attributes, path in entries if attributes[:6].decode() in REGULAR]

    def file(self, revision: str, path: str) -> bytes | None:
        """The content of a plain file of a commit, None where it has none by that path."""
        rows = self._run(["--literal-pathspecs", "ls-tree", "-z", revision, "--", path]).stdout.split(b"\0")
        mode, kind, blob = rows[0].split(b"\t", 1)[0].decode().split() if rows[0] else ("", "", "")
        return self.blob(blob) if mode in REGULAR and kind == "blob" else None

    def blob(self, blob_id: str) -> bytes:
        """The content of a blob."""
        answers, size = self._ask("--batch", blob_id)
        content = answers.read(size + 1)
        if len(content) != size + 1:
            raise self._failure(f"object {blob_id} is cut short")
        return content[:-1]

    def blob_at(self, revision: str, path: str) -> str | None:
        """The id of the blob that a commit has at a path, None where there is none."""
        # git ends at a path that it takes as relative to the working folder, and a tree has none
        if "\n" in path or path.startswith(("./", "../")):
            return None
        header = self._header("--batch-check", f"{revision}:{path}")
        return header[0].decode() if len(header) == 3 and header[1] == b"blob" else None

    def size(self, blob_id: str) -> int:
        """Bytes of a blob, without reading it."""
        return self._ask("--batch-check", blob_id)[1]

    def _ask(self, mode: str, blob_id: str) -> tuple[IO[bytes], int]:
        """Asks for a blob. Returns the output that its content may follow in, and its size."""
        header = self._header(mode, blob_id)
        if len(header) != 3 or header[1] != b"blob":
            raise self._failure(f"object {blob_id} is {b' '.join(header[1:]).decode(errors='replace') or 'unreadable'}")
        return self._cat_files[mode].stdout, int(header[2])

    def _header(self, mode: str, name: str) -> list[bytes]:
        """What a `cat-file` that stays open for all questions of its kind says of an object, in words."""
        if mode not in self._cat_files:
            complaints = self._open.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115
            process = self._open.enter_context(self._process(["cat-file", mode], subprocess.PIPE, complaints))
            self._cat_files[mode], self._complaints[mode] = process, complaints
        process = self._cat_files[mode]
        try:
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:  # git ends where an object of a partial clone is asked for by its path
            self._complaints[mode].seek(0)
            raise self._failure(_last_line(self._complaints[mode].read()))
        return answer.split()

    def _run(self, command: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [git_program(), *command],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            raise self._failure(_last_line(done.stderr))
        return done

    @contextlib.contextmanager
    def _stream(self, command: Sequence[str], commits: Iterable[str]) -> Iterator[IO[bytes]]:
        """The output of a command that is given commit ids; it is ended when the reader has enough."""
        with tempfile.TemporaryFile(dir=self._folder) as asked, tempfile.TemporaryFile(dir=self._folder) as complaints:
            asked.writelines(f"{commit}\n".encode() for commit in commits)
            asked.seek(0)
            with self._process(command, asked, complaints) as process:
                yield process.stdout
                if process.wait():
                    complaints.seek(0)
                    raise self._failure(_last_line(complaints.read()))

    @contextlib.contextmanager
    def _process(
        self, command: Sequence[str], stdin: int | IO[bytes], stderr: int | IO[bytes] = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen]:
        process = subprocess.Popen(
            [git_program(), *command],
            env=self._environment,
            cwd=self._folder,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def _failure(self, complaint: str) -> DataError:
        hint = "its history is damaged: try `git fsck`"
        if self.source.is_partial:
            hint = "it is a partial clone, whose missing files are never fetched here: clone it without --filter"
        return DataError(f"data.repo={self.source.path}: git says '{complaint}'; {hint}")


def _last_line(complaints: bytes) -> str:
    lines = complaints.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("fatal: ")[:200] if lines else "nothing"


def _split_nul(stream: IO[bytes]) -> Iterator[bytes]:
    """The fields of NUL-ended output, read in blocks."""
    rest = b""
    while block := stream.read(1 << 16):
        *fields, rest = (rest + block).split(b"\0")
        yield from fields
