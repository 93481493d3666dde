"""The files that a commit changed: which are worth mining, and their edits as steps. Counts the others by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gapo_cli.config.checks import one_of, require
from gapo_cli.errors import did_you_mean
from gapo_cli.records import HistoryEvent
from gapo_cli.tasks.git.commit_tasks import Step
from gapo_cli.tasks.git.copied_files import CopiedFiles
from gapo_cli.tasks.git.diff_hunks import BlobPatch
from gapo_cli.tasks.git.file_edits import (
    BYTE_ORDER_MARK,
    EditedFile,
    LineChange,
    decode_lines,
    has_mixed_line_ends,
    join_changes,
    new_file_hunk,
)
from gapo_cli.tasks.git.file_filters import path_reason, text_reason
from gapo_cli.tasks.git.git_reader import SUBMODULE, SYMLINK, FileChange, GitReader
from gapo_cli.tasks.languages import EXTENSIONS, FILE_NAMES, UNKNOWN, extension_of, language_of

PROSE_AND_DATA = frozenset({"ini", "json", "markdown", "text", "toml", "xml", "yaml"})
"""Left out unless asked for: change logs and version numbers tell what the rest of a commit does."""


UNKNOWN_LANGUAGE, MIRRORED = "unknown language", "mirrored"


@dataclass(frozen=True, kw_only=True)
class FileFilter:
    """`languages`: by name (None: all but prose and data). `exclude`: patterns of paths to leave out, where `*` crosses
    folders. `header_language`: of `.h` files, c or cpp; auto: as the repository's other files tell. `max_file`: bytes. `join_lines`: changes with at most so many unchanged lines between them are one edit."""

    languages: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    header_language: str = "auto"
    max_file: int = 1_000_000
    join_lines: int = 3

    def __post_init__(self) -> None:
        for name in ("languages", "exclude"):
            value = getattr(self, name)
            require(not isinstance(value, str), f"data.source.{name}={value}: need a list, data.source.{name}=[{value}]")
        known = {*EXTENSIONS, *FILE_NAMES.values()}
        for name in self.languages or ():
            near = did_you_mean(str(name), known) or f"there are {', '.join(sorted(known))}"
            require(name in known, f"data.source.languages: no language '{name}'; {near}")
        one_of("data.source.header_language", self.header_language, ("auto", "c", "cpp"))
        require(self.max_file > 0, f"data.source.max_file={self.max_file}: need at least 1")
        require(self.join_lines >= 0, f"data.source.join_lines={self.join_lines}: need 0 or more")

    def reason(self, change: FileChange, headers: str = "c") -> str | None:
        """Why a changed file is left out, as far as its path, modes and status tell; None where they do not. `headers`: the
        language of `.h` files."""
        modes = (change.old_mode, change.new_mode)
        if SYMLINK in modes:
            return "symlink"
        if SUBMODULE in modes:
            return "submodule"
        if change.status == "D":
            return "deleted"
        path = printable(change.path)
        if path is None or printable(change.old_path) is None:
            return "unprintable path"
        if found := path_reason(path):
            return found
        if any(fnmatchcase(path, pattern) for pattern in self.exclude):
            return "excluded"
        language = language_of(path, headers)
        if language == UNKNOWN:
            return UNKNOWN_LANGUAGE
        if self.languages is not None and language not in self.languages:
            return "language not asked for"
        if self.languages is None and language in PROSE_AND_DATA:
            return "prose or data"
        return "mode only" if change.status == "M" and change.old == change.new else None


@dataclass(frozen=True, slots=True)
class Usable:
    """A changed file that is not left out by its path. `home`: the path where its history begins, as far back as it
    was read."""

    change: FileChange
    home: str

    @property
    def has_edits(self) -> bool:
        return self.change.status in "MR" and self.change.old != self.change.new


class ChangedFiles:
    """Reads changed files of commit after commit. `headers`: the language of `.h` files. `counts`: what became of each;
    `unknown`: the extensions of those in no known language; `copies`: the files that are copies of others."""

    def __init__(self, reader: GitReader, options: FileFilter, headers: str = "c") -> None:
        self.reader = reader
        self.options = options
        self.headers = headers
        self.counts: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.homes: dict[bytes, bytes] = {}
        self.copies = CopiedFiles(self.content)

    def follow(self, changes: Sequence[FileChange]) -> None:
        """Renames, and what stands where. Call it for commit after commit, parents first."""
        for change in changes:
            if change.status == "R":
                self.homes[change.path] = self.homes.get(change.old_path, change.old_path)
        self.copies.follow(changes, lambda change: self.options.reason(change, self.headers) is None)

    def usable(self, changes: Sequence[FileChange]) -> list[Usable]:
        found = []
        for change in changes:
            reason = self.options.reason(change, self.headers)
            if reason is None and change.old != change.new and self.copies.is_copy(change.path):
                reason = MIRRORED
            if reason == UNKNOWN_LANGUAGE:
                self.unknown[extension_of(change.path.decode("utf-8"))] += 1
            if reason is None:
                found.append(Usable(change, self.homes.get(change.path, change.path).decode("utf-8", "replace")))
            else:
                self.counts[reason] += 1
        return found

    def steps(self, usable: Usable, patches: dict[tuple[str, str], BlobPatch], context: int) -> list[Step]:
        """What history tells of a file: its renaming, its edits, or that it was added. No steps where its text shows that
        it should be left out."""
        change = usable.change
        path, old_path = (name.decode("utf-8") for name in (change.path, change.old_path))
        try:
            if change.status == "A":
                if self.reader.size(change.new) > self.options.max_file:
                    raise Unusable("too long")
                lines = self.lines(change.new)
                steps = [Step(HistoryEvent("edit", path, new_file_hunk(lines)))]
                kind = "added"
            else:
                steps = [Step(HistoryEvent("rename", path, old_path=old_path))] if path != old_path else []
                kind = "renamed" if steps else "edited"
                if change.old != change.new:
                    steps += self.edit_steps(change, path, patches, context)
        except Unusable as error:
            self.counts[str(error)] += 1
            return []
        self.counts[kind] += 1
        return steps

    def edit_steps(self, change: FileChange, path: str, patches: dict[tuple[str, str], BlobPatch], context: int) -> list[Step]:
        patch = patches.get((change.old, change.new))
        if patch is None or patch.binary or not patch.changes:  # git calls a long file binary, too
            raise Unusable(
                "too long" if max(map(self.reader.size, (change.old, change.new))) > self.options.max_file else "binary"
            )
        lines = self.lines(change.old)
        try:
            changes = [
                LineChange(part.start, part.end, tuple(added_line(line) for line in part.added)) for part in patch.changes
            ]
        except UnicodeDecodeError as error:
            raise Unusable("not UTF-8") from error
        file = EditedFile(path, tuple(lines), join_changes(lines, changes, self.options.join_lines))
        return [Step(HistoryEvent("edit", path, diff), file, index) for index, diff in enumerate(file.diffs(context))]

    def content(self, blob: str) -> bytes | None:
        """A blob's bytes, None where it is too long."""
        return self.reader.blob(blob) if self.reader.size(blob) <= self.options.max_file else None

    def lines(self, blob: str) -> list[str]:
        """Raises Unusable."""
        content = self.reader.blob(blob)
        if b"\0" in content:
            raise Unusable("binary")
        if has_mixed_line_ends(content):
            raise Unusable("mixed line ends")
        try:
            lines = decode_lines(content)
        except UnicodeDecodeError as error:
            raise Unusable("not UTF-8") from error
        if reason := text_reason(lines):
            raise Unusable(reason)
        return lines


class Unusable(Exception):
    """A file's text shows that it should be left out; the message is the reason that is counted."""


def printable(path: bytes) -> str | None:
    """A path as text, None where it is not UTF-8 or has line breaks or other control characters, which no prompt can show."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def added_line(line: bytes) -> str:
    """As `decode_lines` reads it. Raises UnicodeDecodeError."""
    return line.decode("utf-8").removeprefix(BYTE_ORDER_MARK).removesuffix("\r")
