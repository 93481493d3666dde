"""Several ranks inside a test: forked processes that meet as torchrun's do, in a second instead of ten."""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kill_driver import IMPORTED_ONCE

from gapo_cli.processes.place import Place
from gapo_cli.processes.ranks import Ranks

PATIENCE_SECONDS = 240


def command_on_ranks(count: int, words: Sequence[str], folder: Path) -> tuple[list[int], str]:
    """`gapo WORDS` typed in `folder`, as torchrun would start it on `count` ranks: the exit code of each, and what they show."""
    shown = folder / "shown"
    for name in IMPORTED_ONCE:
        importlib.import_module(name)

    def command(_: Place) -> int:
        from gapo_cli.cli.entry import main

        output = os.open(shown, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))  # pytest has put its own there
        os.chdir(folder)
        sys.argv = ["gapo", *words]
        try:
            main()
        except SystemExit as ended:
            return ended.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    codes = in_places(count, command, folder)
    return codes, shown.read_text()


def on_ranks(count: int, work: Callable[[Ranks], Any], folder: Path) -> list[Any]:
    """What `work` returns on each of `count` ranks, or the exception that it raises; the exit code of one that was killed."""

    def joined_work(place: Place) -> Any:
        from gapo_cli.processes.group import joined

        with joined(place) as ranks:
            return work(ranks)

    return in_places(count, joined_work, folder)


def in_places(count: int, work: Callable[[Place], Any], folder: Path) -> list[Any]:
    """What `work` returns in each of `count` processes that find their place in the environment as torchrun sets it, or the
    exception that it raises; the exit code of one that was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    children = [_start(Place(rank, count, rank, count), port, work, folder) for rank in range(count)]
    until = time.monotonic() + PATIENCE_SECONDS
    codes: dict[int, int] = {}
    while len(codes) < count:
        for rank, child in enumerate(children):
            if rank not in codes:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    codes[rank] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            for rank, child in enumerate(children):
                if rank not in codes:
                    os.kill(child, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.01)
    return [_result(folder / f"result-{rank}") if codes[rank] == 0 else codes[rank] for rank in range(count)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _start(place: Place, port: int, work: Callable[[Place], Any], folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        import torch

        gc.freeze()  # going through all that the tests have imported would copy it
        gc.unfreeze = lambda: None
        torch.set_num_threads(1)
        os.environ |= {
            "RANK": str(place.rank),
            "WORLD_SIZE": str(place.count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TOKENIZERS_PARALLELISM": "false",
        }
        try:
            found = work(place)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - it is what the test asks for
            (folder / f"traceback-{place.rank}").write_text(traceback.format_exc())
            found = error
        (folder / f"result-{place.rank}").write_bytes(pickle.dumps(found))
    finally:
        os._exit(0)


def _result(path: Path) -> Any:
    return pickle.loads(path.read_bytes())
