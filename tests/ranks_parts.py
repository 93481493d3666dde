"""Several ranks inside a test: forked processes that meet as torchrun's do, in a second instead of ten."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gapo_cli.processes.place import Place
from gapo_cli.processes.ranks import Ranks

PATIENCE_SECONDS = 240


def on_ranks(count: int, work: Callable[[Ranks], Any], folder: Path) -> list[Any]:
    """What `work` returns on each of `count` ranks, or the exception that it raises; the exit code of one that was killed."""
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


def _start(place: Place, port: int, work: Callable[[Ranks], Any], folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        import torch

        from gapo_cli.processes.group import joined

        torch.set_num_threads(1)
        os.environ |= {
            "RANK": str(place.rank),
            "WORLD_SIZE": str(place.count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TOKENIZERS_PARALLELISM": "false",
        }
        try:
            with joined(place) as ranks:
                found = work(ranks)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - it is what the test asks for
            (folder / f"traceback-{place.rank}").write_text(traceback.format_exc())
            found = error
        (folder / f"result-{place.rank}").write_bytes(pickle.dumps(found))
    finally:
        os._exit(0)


def _result(path: Path) -> Any:
    return pickle.loads(path.read_bytes())
