"""What a run costs with waiting threads that soon sleep (gapo_cli/hardware.py), against libgomp's own time of waiting: on a free machine, and
on one where other processes keep every core busy.

Both sides are the same `gapo train` as a process of its own, in turn. On our side a thread waits as long as gapo lets it by the load at
its start; here the number of turns is given, so that the load's mean of a minute need not be waited for. The clock counts on the free machine, where sleeping may not
cost speed; the processor's seconds count on the busy one, where waiting takes them from others.

    python benchmarks/thread_spin.py
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import Costs, cost_row, machine
from tables import between, command_of, publish, seconds, table_line, times

from gapo_cli.hardware import SPINS, SPINS_WHERE_BUSY, usable_cores

SPINS_OF_LIBGOMP = "300000"
"""Turns of a waiting thread where no variable says otherwise (the manual of libgomp, GOMP_SPINCOUNT)."""
BUSY = [sys.executable, "-c", "while True: pass"]


@dataclass(frozen=True)
class Run:
    """What a process took, in seconds of the processor and of the clock."""

    cpu_seconds: float
    wall_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=3, help="other processes on the busy machine")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of each run")
    parser.add_argument("--steps", type=int, default=20, help="of each run")
    parser.add_argument("--data", type=Path, help="where the task set lies or goes; a temporary folder if left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        words = [
            "experiment=debug", f"data.directory={(given.data or folder / 'data').resolve()}", f"trainer.threads={given.threads}",
            f"trainer.steps={given.steps}",
        ]  # fmt: skip
        subprocess.run([*gapo(), "prepare", *words, "-q"], cwd=folder, check=True)
        rows = []
        for setting, jobs in {"free": 0, f"beside {given.jobs} busy processes": given.jobs}.items():
            with busy(jobs):
                ours, rival = both(folder, words, given.repeats, SPINS_WHERE_BUSY if jobs else SPINS)
            rows.append(cost_row(setting, ours, rival))
    publish(
        "thread_spin",
        "Threads that wait",
        [
            "machine",
            "clock, ours",
            "libgomp's",
            "ratio",
            "lowest to highest",
            "CPU, ours",
            "libgomp's",
            "ratio",
            "lowest to highest",
        ],
        [line(row) for row in rows],
        f"A debug run of {given.steps} steps with {given.threads} threads, start of the program included. Ours: {int(SPINS):,} "
        f"turns, and {int(SPINS_WHERE_BUSY):,} on the busy machine, libgomp's: {int(SPINS_OF_LIBGOMP):,}. Medians of {given.repeats} interleaved repeats.",
        machine("gapo-cli", "torch") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, parser, given),
    )


def line(row: dict) -> str:
    wall, cpu = row["wall_seconds"], row["cpu_seconds"]
    cells = [
        cell
        for cost in (wall, cpu)
        for cell in (seconds(cost["ours"]), seconds(cost["rival"]), f"**{times(cost['ratio_median'])}**", between(cost))
    ]
    return table_line([row["setting"], *cells])


def both(folder: Path, words: list[str], repeats: int, ours_spin: str) -> tuple[Costs, Costs]:
    """The same run with our number of turns and with libgomp's, in turn."""
    sides: dict[str, list[Run]] = {ours_spin: [], SPINS_OF_LIBGOMP: []}
    for repeat in range(repeats):
        for spins, runs in sides.items():
            runs.append(
                timed([*gapo(), "train", *words, f"hydra.run.dir={repeat}-{spins}-{os.urandom(4).hex()}", "-q"], folder, spins)
            )
    ours, rival = (
        Costs(name, tuple(run.cpu_seconds for run in runs), tuple(run.wall_seconds for run in runs), (None,) * repeats)
        for name, runs in zip(("short waiting", "libgomp's waiting"), sides.values(), strict=True)
    )
    return ours, rival


def timed(command: list[str], folder: Path, spins: str) -> Run:
    """Raises SystemExit for a command that fails."""
    environment = {**os.environ, "GOMP_SPINCOUNT": spins}
    environment.pop("OMP_WAIT_POLICY", None)
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return Run(used.ru_utime + used.ru_stime, wall)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other processes that compute all the time."""
    others = [subprocess.Popen(BUSY) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def gapo() -> list[str]:
    return [sys.executable, "-m", "gapo_cli"]


if __name__ == "__main__":
    main()
