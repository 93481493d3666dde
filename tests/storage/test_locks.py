"""One process a folder, and the sentence that names the other one."""

import fcntl
import os
import socket
import subprocess
import sys

import pytest

from gapo_cli.errors import StorageError
from gapo_cli.storage.locks import hold, is_held

HOLDER = "import sys; from gapo_cli.storage.locks import hold\nwith hold(__import__('pathlib').Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def other(tmp_path):
    """A process that holds tmp_path / "run" until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_who_is_at_work(tmp_path, other):
    assert is_held(tmp_path / "run")
    with pytest.raises(StorageError) as raised, hold(tmp_path / "run"):
        pass
    sentence = str(raised.value)
    assert sentence.startswith(f"{tmp_path}/run: process {other.pid} on {socket.gethostname()} (since 20")
    assert sentence.endswith("is at work there; wait for its end, or name another folder")


def test_a_killed_process_leaves_no_lock_behind(tmp_path, other):
    other.kill()
    other.wait()
    assert not is_held(tmp_path / "run")
    with hold(tmp_path / "run") as locked:
        assert locked


def test_a_lock_ends_with_its_block_and_a_folder_without_one_is_free(tmp_path):
    with hold(tmp_path / "run"):
        assert is_held(tmp_path / "run")
    assert not is_held(tmp_path / "run")
    assert not is_held(tmp_path / "nowhere")


def test_where_the_file_system_has_no_locks_the_caller_is_told_and_goes_on(tmp_path, monkeypatch):
    def unsupported(descriptor, operation):
        raise OSError(38, os.strerror(38))  # ENOSYS: Lustre without -o flock

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with hold(tmp_path) as locked:
        assert not locked


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/run: cannot be written"), hold(tmp_path / "file" / "run"):
        pass
