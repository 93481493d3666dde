"""data=git: edit tasks mined from the history of any git repository.

Each commit is taken apart into edits (gapo_cli/tasks/git/commit_tasks.py); merges, generated, vendored, minified and binary
files, lock files, copies of other files, links and submodules are left out, and counted by reason. The newest commits are the eval split, or a
share of the files is. Only committed objects are read, and nothing from the repository is run
(gapo_cli/tasks/git/git_folder.py).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gapo_cli.config.checks import one_of, require
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.records import EditTask, Source, TaskSet
from gapo_cli.tasks.git.changed_files import ChangedFiles, FileFilter, Usable
from gapo_cli.tasks.git.commit_tasks import Step, TaskShape, tasks_of_commit
from gapo_cli.tasks.git.diff_hunks import BlobPatch
from gapo_cli.tasks.git.git_reader import Commit, GitReader
from gapo_cli.tasks.git.licences import LICENCE_NAME, combined_guess
from gapo_cli.tasks.git.related_files import RelatedFiles, RelatedShape
from gapo_cli.tasks.languages import header_language, language_of
from gapo_cli.tasks.sets.splits import without_repeats

SPLITS = ("train", "dev", "eval")
MINER_VERSION = 4
"""Raised with every change that makes other tasks of the same history, so that prepared sets are built again."""
MOST_NAMED = 3
"""Mirrored folders that a note names; the manifest has all."""
MOST_EXTENSIONS = 12
"""Unknown extensions that a note names."""


@dataclass(frozen=True, kw_only=True)
class GitHistory(TaskShape, FileFilter, RelatedShape):
    """`repo`: a work tree, a `.git` folder or a bare repository. `revision`: whose history; `max_commits`: only so many
    of its newest commits. `name`: what tasks call the repository (None: its folder's name). `split_by`: time (the newest
    commits are eval, those before them dev) or file (by the hash of the path where a file's history begins). `shares`: of
    the commits that give tasks, or of the files, for train, dev and eval. `max_files`, `max_edits`: a commit that has
    more is a bulk change. `subject_as_instruction`: a task's instruction is the commit's subject, which tells the intent.
    """

    repo: str
    revision: str = "HEAD"
    name: str | None = None
    max_commits: int | None = None
    split_by: str = "time"
    shares: tuple[float, float, float] = (0.85, 0.05, 0.1)
    max_files: int = 50
    max_edits: int = 200
    subject_as_instruction: bool = False

    def __post_init__(self) -> None:
        TaskShape.__post_init__(self)
        FileFilter.__post_init__(self)
        RelatedShape.__post_init__(self)
        one_of("data.source.split_by", self.split_by, ("time", "file"))
        shares = tuple(self.shares)
        if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise UserError(f"data.source.shares={list(shares)}: need three shares that add up to 1")
        for name in ("max_commits", "max_files", "max_edits"):
            value = getattr(self, name)
            require(value is None or value > 0, f"data.source.{name}={value}: need at least 1")

    def fingerprint(self) -> Mapping[str, Any]:
        """Settings, the commit that `revision` stands for now, where a shallow clone ends, and git's version (another
        version may draw a diff differently)."""
        with self._reader() as reader:
            settings = asdict(self) | {"repo": self.name or reader.source.name, "revision": reader.resolve(self.revision)}
            ends = (
                hashlib.sha256((reader.source.common / "shallow").read_bytes()).hexdigest()
                if reader.source.is_shallow
                else None
            )
            return {"source": "git", "miner": MINER_VERSION, "git": reader.git_version(), "shallow": ends, **settings}

    def build(self, progress: Progress = no_progress) -> TaskSet:
        """Raises DataError where git cannot read the history."""
        with self._reader() as reader:
            return _Walk(self, reader, progress).mine()

    def home_split(self, home: str) -> str:
        """The split of a file by the hash of a path: the same in every repository and on every machine."""
        position = int(hashlib.sha256(home.encode()).hexdigest()[:8], 16) / 2**32
        return SPLITS[(position >= self.shares[0]) + (position >= self.shares[0] + self.shares[1])]

    def assigned(self, commits: Sequence[Sequence[EditTask]]) -> dict[str, list[EditTask]]:
        """Tasks by split; `commits` are in time order and none is without tasks."""
        first_dev = round(len(commits) * self.shares[0])
        first_eval = round(len(commits) * (self.shares[0] + self.shares[1]))
        if self.shares[2] and len(commits) > 1:
            first_eval = min(first_eval, len(commits) - 1)
        splits: dict[str, list[EditTask]] = {name: [] for name in SPLITS}
        for number, tasks in enumerate(commits):
            by_time = SPLITS[(number >= min(first_dev, first_eval)) + (number >= first_eval)]
            for task in tasks:
                split = task.source.split or by_time
                splits[split].append(replace(task, source=replace(task.source, split=split)))
        return splits

    def _reader(self) -> GitReader:
        return GitReader(Path(self.repo), self.max_file)


class _Walk:
    """One walk through a history, oldest commit first. Counts commits and edits by what became of them."""

    def __init__(self, source: GitHistory, reader: GitReader, progress: Progress) -> None:
        self.source = source
        self.reader = reader
        self.progress = progress
        self.name = source.name or reader.source.name
        self.revision = reader.resolve(source.revision)
        headers = source.header_language
        self.headers = header_language(reader.paths(self.revision)) if headers == "auto" else headers
        self.files = ChangedFiles(reader, source, self.headers)
        self.related = RelatedFiles(reader, self.files, source)
        self.commits: Counter[str] = Counter()
        self.edits: Counter[str] = Counter()

    def mine(self) -> TaskSet:
        revision = self.revision
        licence = self.licence(revision)
        commits = {commit.id: commit for commit in in_time_order(self.reader.commits(revision, self.source.max_commits))}
        usable = self.usable_files(list(commits.values()))
        found: list[list[EditTask]] = []
        for done, (commit, patches) in enumerate(self.reader.patches(list(usable)), start=1):
            self.progress("mining commits", done, len(usable))
            tasks = self.with_related(
                self.tasks(commits[commit], usable[commit], patches, licence), commits[commit], usable[commit]
            )
            if tasks:
                found.append(tasks)
        splits, dropped = without_repeats(self.source.assigned(found))
        self.edits.update(dropped)
        self.edits["task"] = sum(map(len, splits.values()))
        return TaskSet(splits, {
            "repo": self.name, "revision": revision, "licence": licence,
            "commits": tidy(self.commits), "files": tidy(self.files.counts), "edits": tidy(self.edits),
            "kinds": {split: tidy(Counter(task.labels["kind"] for task in tasks)) for split, tasks in splits.items()},
            "mirrored": tidy(self.files.copies.folders), "unknown_extensions": tidy(self.files.unknown),
            "header_language": self.headers, "related": self.related_counts(splits), "notes": self.notes(),
        })  # fmt: skip

    def with_related(self, tasks: Sequence[EditTask], commit: Commit, usable: Sequence[Usable]) -> list[EditTask]:
        """The tasks with excerpts of related files as they stood before their commit."""
        if not self.source.related_characters:
            return list(tasks)
        return [
            replace(task, hints=self.related.hints(task, commit.parents[0], usable, self.on_its_side(task))) for task in tasks
        ]

    def on_its_side(self, task: EditTask) -> Callable[[str], bool]:
        """Which files a task may show: with files split by their path, those of its own split."""
        if self.source.split_by == "time":
            return lambda path: True

        def is_there(path: str) -> bool:
            home = self.files.homes.get(path.encode(), path.encode()).decode("utf-8", "replace")
            return self.source.home_split(home) == task.source.split

        return is_there

    @staticmethod
    def related_counts(splits: Mapping[str, Sequence[EditTask]]) -> dict[str, int]:
        """How many tasks show a related file, and the excerpts by how their file was found."""
        tasks = [task for members in splits.values() for task in members]
        found = Counter(hint.source for task in tasks for hint in task.hints)
        return {"tasks with related files": sum(bool(task.hints) for task in tasks), **tidy(found)}

    def licence(self, revision: str) -> str | None:
        files = {name: blob for name, blob in self.reader.root_files(revision).items() if LICENCE_NAME.fullmatch(name)}
        small = {name: blob for name, blob in files.items() if self.reader.size(blob) <= self.source.max_file}
        return combined_guess({name: self.reader.blob(blob).decode("utf-8", "replace") for name, blob in small.items()})

    def usable_files(self, commits: Sequence[Commit]) -> dict[str, list[Usable]]:
        """The files worth reading of every commit that edits any."""
        single = [commit.id for commit in commits if len(commit.parents) == 1]
        self.commits["merge"] = sum(len(commit.parents) > 1 for commit in commits)
        self.commits["no parent"] = sum(not commit.parents for commit in commits)
        self.commits["changes nothing"] = len(single)
        found = {}
        for done, (commit, changes) in enumerate(self.reader.changed_files(single), start=1):
            self.progress("reading commits", done, len(single))
            self.commits["changes nothing"] -= 1
            self.files.follow(changes)
            if len(changes) > self.source.max_files:
                self.commits["bulk change"] += 1
                continue
            usable = self.files.usable(changes)
            if any(file.has_edits for file in usable):
                found[commit] = usable
            else:
                self.commits["no file to edit"] += 1
        self.progress("reading commits", len(single), len(single))
        return found

    def tasks(
        self, commit: Commit, files: Sequence[Usable], patches: Sequence[BlobPatch], licence: str | None
    ) -> list[EditTask]:
        """A commit's tasks; those of a split by time have no split yet."""
        by_blobs = {(patch.old, patch.new): patch for patch in patches}
        sequences: dict[str, list[Step]] = {}
        for file in files:
            split = self.source.home_split(file.home) if self.source.split_by == "file" else ""
            sequences.setdefault(split, []).extend(self.files.steps(file, by_blobs, self.source.history_context))
        edits = sum(step.file is not None for steps in sequences.values() for step in steps)
        if edits > self.source.max_edits:
            self.commits["bulk change"] += 1
            return []
        tasks = []
        for split, steps in sequences.items():
            source = Source("git", split, repo=self.name, revision=commit.id, licence=licence)
            instruction = commit.subject.strip() or None if self.source.subject_as_instruction else None
            name = "/".join(filter(None, ("git", self.name, commit.id[:12], split)))
            made, rejects = tasks_of_commit(name, steps, source, instruction, self.source)
            tasks += [replace(task, language=language_of(task.path, self.headers)) for task in made]
            self.edits.update(rejects)
        self.commits["gives tasks" if tasks else "one edit" if edits == 1 else "no edit to predict"] += 1
        return tasks

    def notes(self) -> list[str]:
        """What became of everything, in one line for commits, changed files and edits each; and what may surprise."""
        kinds = (("commits", self.commits), ("changed files", self.files.counts), ("edits", self.edits))
        lines = [f"{counts.total():,} {what}: {', '.join(f'{name} {count:,}' for name, count in tidy(counts).items())}"
                 for what, counts in kinds if counts.total()]  # fmt: skip
        folders, unknown = self.files.copies.folders, self.files.unknown
        if folders:
            mirrors = self.files.copies.mirrors()[:MOST_NAMED]
            patterns = ",".join(f"{folder}/*" for folder, _ in mirrors)
            shown = ", ".join(f"{folder} {count:,}" for folder, count in mirrors)
            hint = f" (in mirrors: {shown}); leave out all of them by data.source.exclude=[{patterns}]" if mirrors else ""
            lines.append(f"{folders.total():,} changed files are copies of other files here, and were left out{hint}")
        if unknown:
            shown = ", ".join(
                f"{f'.{name}' if name else 'none'} {count:,}" for name, count in unknown.most_common(MOST_EXTENSIONS)
            )
            more = f" and {len(unknown) - MOST_EXTENSIONS} more" if len(unknown) > MOST_EXTENSIONS else ""
            lines.append(f"extensions of no known language, by changed files: {shown}{more}")
        if self.reader.source.is_shallow:
            lines.append(f"{self.source.repo} is a shallow clone, of which only the commits that are here were mined; "
                         "`git fetch --unshallow` gets the others")  # fmt: skip
        return lines


def in_time_order(commits: Sequence[Commit]) -> list[Commit]:
    """By committer's time, except that a commit counts as no older than its parents: clocks may be wrong. `commits`:
    parents before children."""
    time: dict[str, int] = {}
    for commit in commits:
        time[commit.id] = max([commit.time, *(time[parent] for parent in commit.parents if parent in time)])
    return sorted(commits, key=lambda commit: time[commit.id])


def tidy(counts: Counter[str]) -> dict[str, int]:
    """The largest first; what did not happen is left out."""
    return {name: count for name, count in counts.most_common() if count}
