"""Finding a git repository's own folder, and a private stand-in for it that holds none of its settings.

Git obeys the repository that it reads: hooks, filters, text converters, external diffs, signature checkers, pagers,
file-system monitors, promisor remotes and included files all come from its config, attributes and work tree. A stand-in
has the repository's refs and its objects, by reference, and a config, attributes and work tree of its own. So nothing
that a repository says can run, whatever settings git grows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gapo_cli.errors import DataError, UserError

ADDRESS = re.compile(r"(https?|ssh|git|file):/|[\w.-]+@[\w.-]+:")
"""How git's addresses begin; Path has made one slash of two."""
_ENTRIES = ("HEAD", "config", "objects", "packed-refs", "refs", "shallow")
_CONFIG = """\
[core]
    repositoryformatversion = 1
    bare = false
    bigFileThreshold = {largest}
    hooksPath = {nothing}
    attributesFile = {nothing}
    fsmonitor = false
    pager = cat
[protocol]
    allow = never
[extensions]
    objectFormat = {object_format}
"""


@dataclass(frozen=True)
class GitFolder:
    """`head_folder` holds HEAD, `common` holds refs, objects and config; they differ in a linked work tree. `path` is
    what the user named."""

    path: Path
    head_folder: Path
    common: Path

    @property
    def name(self) -> str:
        """What the repository's folder is called, without `.git`."""
        name = self.path.name.removesuffix(".git")
        return name or self.path.parent.name

    @property
    def is_shallow(self) -> bool:
        return (self.common / "shallow").is_file()

    @property
    def is_partial(self) -> bool:
        """Some of its objects were left on a server."""
        return any((self.common / "objects" / "pack").glob("*.promisor"))


def find_git_folder(path: Path) -> GitFolder:
    """The repository at `path`: a folder with `.git` in it, a `.git` folder, a bare repository or a linked work tree.
    Raises UserError where there is none, or where a link in it leads out of it."""
    where = path.expanduser().absolute()
    if ADDRESS.match(str(path)) and not where.exists():
        address = re.sub(r"^(\w+):/", r"\1://", str(path))
        raise UserError(
            f"data.repo={address}: is an address, and nothing is fetched here; clone it and name the folder of the clone"
        )
    if not where.is_dir():
        raise UserError(
            f"data.repo={path}: {'is a file' if where.exists() else 'does not exist'}; name a folder with a git repository"
        )
    where = where.resolve()
    entry = where / ".git"
    if entry.is_file() and not entry.is_symlink():
        head_folder = _linked_folder(path, entry)
    elif entry.exists():
        if not entry.resolve().is_relative_to(where):
            raise UserError(f"data.repo={path}: its .git is a link that leads out of it; name {entry.resolve()} itself")
        head_folder = entry.resolve()
    else:
        head_folder = where
    common = _common_folder(path, head_folder)
    if not ((head_folder / "HEAD").is_file() and (common / "objects").is_dir() and (common / "refs").is_dir()):
        raise UserError(f"data.repo={path}: is no git repository{_nearest(where)}")
    for folder in {head_folder, common}:
        _refuse_links_out(path, folder)
    return GitFolder(where, head_folder, common)


def _linked_folder(path: Path, entry: Path) -> Path:
    """Where a `.git` file says that the repository is (work trees and submodules)."""
    text = entry.read_bytes()[:4096].decode(errors="replace")
    if not text.startswith("gitdir: "):
        raise UserError(f"data.repo={path}: is no git repository (its .git file does not name a folder)")
    return (entry.parent / text.removeprefix("gitdir: ").rstrip("\r\n")).resolve()


def _common_folder(path: Path, head_folder: Path) -> Path:
    entry = head_folder / "commondir"
    if not entry.is_file():
        return head_folder
    if entry.is_symlink():
        raise UserError(f"data.repo={path}: {entry} is a link; need a plain file")
    return (head_folder / entry.read_bytes()[:4096].decode(errors="replace").strip()).resolve()


def _nearest(where: Path) -> str:
    found = next((parent for parent in where.parents if (parent / ".git").exists()), None)
    return f"; did you mean {found}?" if found else "; name the folder that has .git in it, or a bare repository"


def _refuse_links_out(path: Path, folder: Path) -> None:
    for link in _links(folder):
        if not link.resolve().is_relative_to(folder):
            raise UserError(
                f"data.repo={path}: {link} is a link that leads out of the repository; name the repository it belongs to"
            )


def _links(folder: Path) -> Iterator[Path]:
    """Symbolic links among the entries that are read, at any depth."""
    for name in _ENTRIES:
        entry = folder / name
        if entry.is_symlink():
            yield entry
        elif entry.is_dir():
            for parent, folders, files in os.walk(entry):
                yield from (link for child in (*folders, *files) if (link := Path(parent, child)).is_symlink())


def git_program() -> str:
    """Raises UserError where git is not installed."""
    program = shutil.which("git")
    if program is None:
        raise UserError("data=git needs the git program; install git and see that it is on the PATH")
    return str(Path(program).absolute())


def clean_environment(home: Path) -> dict[str, str]:
    """An environment for git in which no setting of the user, the system or the caller's own git remains."""
    keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return keep | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
    }


def make_stand_in(source: GitFolder, folder: Path, largest_file: int) -> dict[str, str]:
    """Fills the empty `folder` with a stand-in for `source` and returns the environment in which git reads it. Files of
    more than `largest_file` bytes are binary to git, so that it does not compare them. Raises UserError for reftables."""
    for name in ("refs", "objects", "worktree"):
        (folder / name).mkdir()
    environment = clean_environment(folder)
    if _extension(source, "refStorage", environment) not in ("", "files"):
        raise UserError(
            f"data.repo={source.path}: keeps its refs as reftables, which cannot be read here; "
            "clone it with `git clone --bare --ref-format=files` and name the clone"
        )
    object_format = _extension(source, "objectFormat", environment) or "sha1"
    if object_format not in ("sha1", "sha256"):
        raise UserError(f"data.repo={source.path}: extensions.objectFormat={object_format}: need sha1 or sha256")
    config = _CONFIG.format(largest=largest_file, nothing=os.devnull, object_format=object_format)
    (folder / "config").write_text(config, encoding="utf-8")
    shutil.copyfile(source.head_folder / "HEAD", folder / "HEAD")
    for name in ("packed-refs", "shallow"):
        if (source.common / name).is_file():
            shutil.copyfile(source.common / name, folder / name)
    _copy_refs(source.common / "refs", folder / "refs")
    return environment | {
        "GIT_DIR": str(folder),
        "GIT_WORK_TREE": str(folder / "worktree"),
        "GIT_OBJECT_DIRECTORY": str(source.common / "objects"),
    }


def _extension(source: GitFolder, name: str, environment: dict[str, str]) -> str:
    """A value of the repository's config file, read as a plain file: nothing in it takes effect, includes are not followed."""
    config = source.common / "config"
    if not config.is_file():
        return ""
    command = [git_program(), "config", "--file", str(config), "--no-includes", "--get", f"extensions.{name}"]
    done = subprocess.run(command, env=environment, cwd=environment["HOME"], capture_output=True, check=False)
    if done.returncode not in (0, 1):  # 1: not set
        raise DataError(f"data.repo={source.path}: its config cannot be read ({done.stderr.decode(errors='replace').strip()})")
    return done.stdout.decode(errors="replace").strip().lower()


def _copy_refs(source: Path, target: Path) -> None:
    for parent, _, names in os.walk(source):
        copy = target / Path(parent).relative_to(source)
        copy.mkdir(exist_ok=True)
        for name in names:
            if (Path(parent) / name).is_file():
                shutil.copyfile(Path(parent) / name, copy / name)
