"""Processes of `sys.executable` made by fork: such a process is what it would be, but for the seconds in which it would import what
this one has imported already. So are those that it starts.

It stands in for what `subprocess` calls to start a process, so process ids, groups, pipes and signals are the real ones. What a new
interpreter alone could show, such as a module that is not there, it does not.
"""

from __future__ import annotations

import _posixsubprocess
import atexit
import gc
import importlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence

import pytest
from hydra.core.global_hydra import GlobalHydra
from kill_driver import IMPORTED_ONCE

fork_exec = _posixsubprocess.fork_exec


def warm_up(patch: pytest.MonkeyPatch) -> None:
    for name in (*IMPORTED_ONCE, "torch.distributed.run"):
        importlib.import_module(name)
    patch.setattr(_posixsubprocess, "fork_exec", start)
    patch.setattr(subprocess, "_fork_exec", start)


def start(
    words: Sequence[str | bytes],
    programs: Sequence[str | bytes],
    close_files: bool,
    kept: Sequence[int],
    folder: str | bytes | None,
    environment: Sequence[bytes] | None,
    *others: object,
) -> int:
    """As `_posixsubprocess.fork_exec`, whose other arguments differ by Python's version but for the first ten."""
    given = [os.fsdecode(word) for word in words]
    if given[0] != sys.executable or "-c" in given[:3]:
        return fork_exec(words, programs, close_files, kept, folder, environment, *others)
    child = os.fork()
    if child:
        return child
    try:
        stdin, _, _, stdout, _, stderr, _, told, _, own_session = others[:10]
        for file, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
            if file not in (-1, number):
                os.dup2(file, number)
        nothing = os.open(os.devnull, os.O_RDWR)
        for file in map(int, os.listdir("/proc/self/fd")):
            # not closed: what this process has inherited would close the number once more, and by then it would be another file
            if file > 2 and (file == told or file not in kept) and (close_files or not os.get_inheritable(file)):
                os.dup2(nothing, file)
        if own_session:
            os.setsid()
        if folder is not None:
            os.chdir(folder)
        if environment is not None:
            os.environ.clear()
            os.environ.update(os.fsdecode(one).split("=", 1) for one in environment)
        os._exit(perform(given[1:]))
    finally:
        os._exit(70)


def perform(words: list[str]) -> int:
    """What `python WORDS` does, and its exit code."""
    become_new()
    try:
        run([word for word in words[:1] if word != "-u"] + words[1:])
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - as at the end of any program
        traceback.print_exc()
        return 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def become_new() -> None:
    """Without what the tests, or the command that starts others, have set in this process."""
    gc.freeze()  # going through all that was imported would copy it
    gc.unfreeze = lambda: None
    atexit._clear()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    logging.disable(logging.NOTSET)
    logging.root.handlers.clear()
    GlobalHydra.instance().clear()
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)


def run(words: list[str]) -> None:
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
        runpy.run_path(words[0], run_name="__main__")
