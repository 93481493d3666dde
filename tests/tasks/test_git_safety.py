"""What a hostile repository asks git to run or to follow, and that reading it does neither.

Each trap is first sprung by plain git, so that a trap that has stopped working fails its test.
"""

import os
import subprocess
from pathlib import Path

import pytest
from git_parts import Repository, numbered

from gapo_cli.errors import DataError, UserError
from gapo_cli.tasks.git.git_folder import clean_environment, find_git_folder, git_program
from gapo_cli.tasks.git_history import GitHistory
from gapo_cli.tasks.sets.store import save_task_set


class Trap:
    """A repository with two commits, a program that leaves a mark, and a way to look for the mark."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "marker"
        self.program = folder / "program"
        self.program.write_text(f'#!/bin/sh\ntouch {self.marker}\ncat "$1" 2>/dev/null\nexit 0\n')
        self.program.chmod(0o755)
        self.repository = Repository(folder / "work")
        self.repository.commit(a_py=numbered(30))
        self.repository.commit(a_py=numbered(30, L3="word = 3", L20="word = 20"))

    @property
    def sprung(self) -> bool:
        found = self.marker.exists()
        self.marker.unlink(missing_ok=True)
        return found

    def mine(self) -> int:
        source = GitHistory(repo=str(self.repository.folder))
        source.fingerprint()
        return sum(len(tasks) for tasks in source.build().splits.values())


@pytest.fixture
def trap(tmp_path) -> Trap:
    return Trap(tmp_path)


def config(name: str):
    return lambda trap: trap.repository.git("config", name, str(trap.program))


def text_converter(trap: Trap) -> None:
    trap.repository.git("config", "diff.trap.textconv", str(trap.program))
    (trap.repository.folder / ".gitattributes").write_text("*.py diff=trap\n")


def diff_driver(trap: Trap) -> None:
    trap.repository.git("config", "diff.trap.command", str(trap.program))
    (trap.repository.folder / ".git/info/attributes").write_text("*.py diff=trap\n")


def clean_filter(trap: Trap) -> None:
    trap.repository.git("config", "filter.trap.clean", str(trap.program))
    trap.repository.git("config", "filter.trap.required", "true")
    (trap.repository.folder / ".gitattributes").write_text("*.py filter=trap\n")
    (trap.repository.folder / "a.py").write_text(numbered(29))


def included_file(trap: Trap) -> None:
    extra = trap.repository.folder / "extra"
    extra.write_text(f"[diff]\n\texternal = {trap.program}\n")
    trap.repository.git("config", "includeIf.gitdir:/**.path", str(extra))


def signature_checker(trap: Trap) -> None:
    """Gives the newest commit a signature, which git shows by running the checker."""
    content = trap.repository.output("cat-file", "commit", "HEAD")
    headers, message = content.split(b"\n\n", 1)
    signed = headers + b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n" + message
    trap.repository.git("update-ref", "HEAD", trap.repository.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=signed))
    trap.repository.git("config", "gpg.program", str(trap.program))
    trap.repository.git("config", "log.showSignature", "true")


def hook(trap: Trap) -> None:
    place = trap.repository.folder / ".git/hooks/post-index-change"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(trap.program.read_bytes())
    place.chmod(0o755)
    (trap.repository.folder / "a.py").touch()


def lazy_fetch(trap: Trap) -> None:
    """A blob is gone, and the remote that promises it is a command."""
    trap.repository.git("config", "core.repositoryFormatVersion", "1")
    trap.repository.git("config", "extensions.partialClone", "origin")
    trap.repository.git("config", "remote.origin.url", f"ext::{trap.program} %S")
    trap.repository.git("config", "remote.origin.promisor", "true")
    trap.repository.git("config", "protocol.ext.allow", "always")
    blob = trap.repository.git("rev-parse", "HEAD:a.py")
    (trap.repository.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()


TRAPS = {
    "external diff": (config("diff.external"), ("diff", "HEAD~1", "HEAD")),
    "diff driver": (diff_driver, ("diff", "HEAD~1", "HEAD")),
    "text converter": (text_converter, ("log", "-p", "-1")),
    "filter": (clean_filter, ("diff",)),
    "file-system monitor": (config("core.fsmonitor"), ("status",)),
    "hook": (hook, ("status",)),
    "included file": (included_file, ("diff", "HEAD~1", "HEAD")),
    "signature checker": (signature_checker, ("log", "-1")),
}


@pytest.mark.parametrize("name", TRAPS)
def test_nothing_that_the_repository_names_is_run(trap, name):
    lay, command = TRAPS[name]
    lay(trap)
    trap.repository.output(*command)
    assert trap.sprung
    lay(trap)
    assert trap.mine() == 1
    assert not trap.sprung


def test_a_missing_file_is_not_fetched_by_a_command_of_the_repository(trap):
    lazy_fetch(trap)
    with pytest.raises(AssertionError):  # git fails, since the command serves nothing
        trap.repository.output("show", "HEAD:a.py")
    assert trap.sprung
    with pytest.raises(DataError, match="git says"):
        trap.mine()
    assert not trap.sprung


def test_nothing_that_the_callers_environment_names_is_run(trap, monkeypatch):
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap.program))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(trap.program))
    subprocess.run(["git", "diff", "HEAD~1", "HEAD"], cwd=trap.repository.folder, check=True, capture_output=True)
    assert trap.sprung
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nowhere")
    assert trap.mine() == 1
    assert not trap.sprung


def test_replaced_objects_do_not_count(trap):
    other = trap.repository.git("hash-object", "-w", "--stdin", stdin=b"replaced = 1\n")
    trap.repository.git("replace", trap.repository.git("rev-parse", "HEAD:a.py"), other)
    assert trap.repository.git("show", "HEAD:a.py") == "replaced = 1"
    assert trap.mine() == 1


def test_the_repository_is_left_as_it_was(trap):
    def files() -> dict[str, tuple[int, int]]:
        paths = [path for path in trap.repository.folder.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    before = files()
    trap.mine()
    assert files() == before


def test_a_repository_without_a_work_tree_index_or_config_is_read(trap, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("HEAD", "objects", "refs"):
        (trap.repository.folder / ".git" / name).rename(bare / name)
    assert GitHistory(repo=str(bare)).build().report["commits"] == {"no parent": 1, "gives tasks": 1}


@pytest.mark.parametrize("entry", [".git", ".git/objects", ".git/refs", ".git/HEAD", ".git/config", ".git/refs/heads/linked"])
def test_a_link_that_leads_out_of_the_repository_is_refused(trap, tmp_path, entry):
    inside = trap.repository.folder / entry
    outside = tmp_path / "outside"
    if inside.exists():
        inside.rename(outside)
    else:
        outside.write_text("f" * 40)
    inside.symlink_to(outside)
    with pytest.raises(UserError, match="is a link that leads out of"):
        trap.mine()


def test_a_link_that_stays_inside_is_followed(trap):
    heads = trap.repository.folder / ".git/refs/heads"
    (heads / "other").symlink_to("main")
    assert trap.mine() == 1
    assert find_git_folder(trap.repository.folder).common == trap.repository.folder / ".git"


def test_a_link_to_the_repository_itself_is_what_the_user_named(trap, tmp_path):
    (tmp_path / "shortcut").symlink_to(trap.repository.folder)
    assert GitHistory(repo=str(tmp_path / "shortcut")).build().report["repo"] == "work"


def test_a_storage_format_that_cannot_be_read_is_named(trap):
    trap.repository.git("config", "extensions.refStorage", "reftable")
    with pytest.raises(UserError, match="keeps its refs as reftables, which cannot be read here"):
        trap.mine()


def test_a_repository_with_longer_ids_is_read(tmp_path):
    trap = Trap(tmp_path)
    folder = tmp_path / "long"
    trap.repository.git("init", "-q", "--object-format=sha256", str(folder))
    long = Repository(folder)
    long.commit(a_py=numbered(30))
    commit = long.commit(a_py=numbered(30, L3="word = 3", L20="word = 20"))
    (task,) = (task for tasks in GitHistory(repo=str(folder)).build().splits.values() for task in tasks)
    assert task.source.revision == commit and len(commit) == 64


def test_git_missing_is_named_with_what_to_do(trap, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="data=git needs the git program; install git"):
        trap.mine()


def test_the_environment_of_git_has_no_settings_of_the_caller(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_ANYTHING", "1")
    environment = clean_environment(tmp_path)
    assert "GIT_ANYTHING" not in environment
    assert environment["GIT_CONFIG_GLOBAL"] == os.devnull
    assert Path(git_program()).is_absolute()


def tree_of(repository: Repository, *entries: tuple[str, str, str, str]) -> str:
    """The id of a tree of (mode, kind, id, name); git itself would not let names like these in."""
    rows = "".join(f"{mode} {kind} {object_id}\t{name}\0" for mode, kind, object_id, name in entries)
    return repository.git("mktree", "-z", stdin=rows.encode())


def test_paths_that_lead_out_of_the_repository_are_names_and_nothing_more(tmp_path):
    """`../evil.py`, `.git/hooks/pre-commit` and a link to /etc: what mining writes lies in the task set's folder all the same."""
    repository = Repository(tmp_path / "a" / "work")
    commit = None
    for content in (numbered(30), numbered(30, L3="word = 3", L20="word = 20")):
        blob = repository.git("hash-object", "-w", "--stdin", stdin=content.encode())
        link = repository.git("hash-object", "-w", "--stdin", stdin=b"/etc")
        evil = tree_of(repository, ("100644", "blob", blob, "evil.py"))
        hooks = tree_of(repository, ("040000", "tree", tree_of(repository, ("100755", "blob", blob, "pre-commit.py")), "hooks"))
        top = tree_of(
            repository, ("040000", "tree", evil, ".."), ("040000", "tree", hooks, ".git"), ("040000", "tree", evil, "~"),
            ("120000", "blob", link, "linked"),
        )  # fmt: skip
        commit = repository.git("commit-tree", top, *(["-p", commit] if commit else []), "-m", "change")
    repository.git("update-ref", "HEAD", commit)
    outputs = tmp_path / "b" / "data"
    before = {path for path in tmp_path.rglob("*") if ".git" not in path.parts}
    task_set = GitHistory(repo=str(repository.folder)).build()
    paths = {task.path for tasks in task_set.splits.values() for task in tasks}
    assert "../evil.py" in paths
    save_task_set(task_set, outputs / "git-set", {"name": "git", "fingerprint": {}})
    written = {path for path in tmp_path.rglob("*") if ".git" not in path.parts} - before
    assert written
    assert all(path == outputs.parent or path == outputs or path.is_relative_to(outputs / "git-set") for path in written)
