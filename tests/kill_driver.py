"""Runs `gapo` commands as processes of their own and kills them with SIGKILL at a chosen moment.

A script that reads one JSON object a line and answers with one: {"argv": [...], "folder": where it is typed, "kill": what},
and back {"status": exit code or -9, "seconds": ..., "cpu_seconds": ..., "events": ..., "output": ...}. It imports what a command needs once and
forks for each, so that a run costs no imports. Kill by {"event": n}: before the n-th thing that Python does to a file under
`folder` (open for writing, sync, rename, remove; they are counted in every run); by {"write": "parquet" | "weights" |
"state", "call": n}: when half of the n-th such file is written; by {"seconds": t}: when that time is over. {"largest_file": bytes}
kills nothing: no file can become larger. {"file": part of a path} is an event too, the first on such a path. {"signals": [names]} are
sent at the event in place of SIGKILL, and {"reader": "leaves"} has the reader of standard output go away then. {"stdout": path} is where
standard output goes. {"copy": [from, to]} kills nothing either: at the event it leaves a copy of a folder, as a kill would leave the folder.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

IMPORTED_ONCE = (
    "matplotlib.figure", "pandas", "pyarrow.parquet", "transformers",
    "gapo_cli.launching.launch", "gapo_cli.models.load", "gapo_cli.reports.page", "gapo_cli.stages.train", "gapo_cli.launching.sweeps",
    "gapo_cli.training.lifecycle",
)  # fmt: skip
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}


class KillDriver:
    """The script as a child process; use it as a context manager."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def run(self, argv: list[str], folder: Path, kill: dict[str, Any] | None = None) -> dict[str, Any]:
        self.process.stdin.write(json.dumps({"argv": argv, "folder": str(folder), "kill": kill}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def serve() -> None:
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(run_in_fork(**json.loads(line))), flush=True)


def run_in_fork(argv: list[str], folder: str, kill: dict[str, Any] | None) -> dict[str, Any]:
    kill = kill or {}
    os.makedirs(folder, exist_ok=True)
    log, counted = Path(f"{folder}.log"), Path(f"{folder}.events")
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        perform(argv, folder, kill, log, counted)
    if "seconds" in kill:
        time.sleep(kill["seconds"])
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "events": int(counted.read_text() or 0) if counted.exists() else 0,
        "output": log.read_text(),
    }


def perform(argv: list[str], folder: str, kill: dict[str, Any], log: Path, counted: Path) -> None:
    """Never returns."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    reading, writing = os.pipe()
    os.dup2(output, 2)
    os.dup2(os.open(kill["stdout"], os.O_WRONLY) if "stdout" in kill else writing if "reader" in kill else output, 1)
    os.close(writing)
    os.chdir(folder)
    sys.path.insert(0, folder)
    code = 70
    try:
        events = watch_files(folder, kill.get("event"), kill.get("file"), act_of(kill, reading))
        if "largest_file" in kill:
            resource.setrlimit(resource.RLIMIT_FSIZE, (kill["largest_file"],) * 2)
        if "write" in kill:
            WRITERS[kill["write"]](kill["call"])
        from gapo_cli.cli.entry import main

        sys.argv = ["gapo", *argv]
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        counted.write_text(str(events[0]))
    finally:
        sys.stdout.flush()
        os._exit(code)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def act_of(kill: dict[str, Any], reading: int) -> Callable[[], None]:
    """What happens at the event."""
    if "reader" in kill:
        return lambda: os.close(reading)
    if "copy" in kill:
        return lambda: shutil.copytree(*kill["copy"])
    return (lambda: [signal.raise_signal(signal.Signals[name]) for name in kill["signals"]]) if "signals" in kill else die


def watch_files(folder: str, at: int | None, part: str | None, act: Callable[[], object]) -> list[int]:
    """Counts the events in the list that it returns, and acts before number `at`, or before the first whose path has `part` in it."""
    seen, acted = [0], [False]

    def count(path: str) -> None:
        seen[0] += 1
        if not acted[0] and (seen[0] == at or (part is not None and part in path)):
            acted[0] = True
            act()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        elif event in CHANGES:
            path, changes = arguments[0], True
        else:
            return
        if changes and isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(folder):
            count(os.path.abspath(path))

    sys.addaudithook(hook)
    fsync = os.fsync

    def counted_fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(folder):
            count(path)
        fsync(descriptor)

    os.fsync = counted_fsync
    return seen


def half_written(module: Any, name: str, path_of: Any, call: int) -> None:
    """Makes a writer leave half of the `call`-th file and die. `path_of` its arguments is the file, None: not counted."""
    write, calls = getattr(module, name), [0]

    def writing(*arguments: Any, **keywords: Any) -> Any:
        result = write(*arguments, **keywords)
        path = path_of(*arguments, **keywords)
        calls[0] += path is not None
        if calls[0] == call:
            os.truncate(path, os.path.getsize(path) // 2)
            die()
        return result

    setattr(module, name, writing)


def half_parquet(call: int) -> None:
    from pyarrow.parquet import ParquetWriter

    # the rollouts': for evaluations pandas hands over an open file
    half_written(ParquetWriter, "close", lambda writer: writer.where if isinstance(writer.where, Path) else None, call)


def half_weights(call: int) -> None:
    from transformers import PreTrainedModel

    half_written(PreTrainedModel, "save_pretrained", lambda model, folder, **_: Path(folder) / "model.safetensors", call)


def half_state(call: int) -> None:
    from gapo_cli.training.checkpoints import checkpoints

    half_written(checkpoints, "save_file", lambda tensors, path: path, call)


WRITERS = {"parquet": half_parquet, "weights": half_weights, "state": half_state}

if __name__ == "__main__":
    serve()
