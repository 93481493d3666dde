"""Makes what can befall `gapo train` happen, on purpose and for real, and shows the sentence that comes out of each fault.

Each fault is followed by what its sentence advises, and the run must come out as the one that nothing befell. The kinds of faults,
and how each is produced, are in the modules of fault_kinds.

    python benchmarks/faults.py
    python benchmarks/faults.py rewards signals     only these kinds; the rows of the others stay as they were
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from fault_kinds.checkpoints import damages
from fault_kinds.disks import full_disk, read_only_disk, second_process
from fault_kinds.folders import occupied, older_checkpoints
from fault_kinds.inputs import data, weights
from fault_kinds.parts import rewards
from fault_kinds.stops import screens, signals
from fault_kinds.trials import Trials, Tried
from measure import machine
from tables import RESULTS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
KINDS = (
    signals, screens, rewards, occupied, older_checkpoints, weights, data, full_disk, read_only_disk, second_process, damages,
)  # fmt: skip
ENDS = {True: "yes", False: "**no**", None: "another run, as asked for"}


Kind = Callable[[Trials], Iterator[Tried]]


def try_all(kinds: Sequence[Kind], data: Path | None, jobs: int) -> list[Tried]:
    """The kinds of fault, `jobs` of them side by side, each in a folder of its own; rows in the order of `kinds`."""
    from kill_driver import KillDriver

    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        folder = Path(temporary).resolve()
        drivers: queue.SimpleQueue[KillDriver] = queue.SimpleQueue()
        first = Trials(folder / "first", (data or folder / "data").resolve(), stack.enter_context(KillDriver()))
        first.make_whole()
        drivers.put(first.driver)
        for _ in range(jobs - 1):
            drivers.put(stack.enter_context(KillDriver()))

        def befall(kind: Kind) -> list[Tried]:
            trials = first.beside(kind.__name__, drivers.get())
            rows = []
            for row in kind(trials):
                rows.append(replace(row, said=row.said.replace(str(trials.folder), "…")))
                print(f"{row.fault}: exit {row.code}, {row.then}: {ENDS[row.recovered]}\n    {rows[-1].said}", flush=True)
            drivers.put(trials.driver)
            return rows

        return [row for rows in pool.map(befall, kinds) for row in rows]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--data", type=Path, help="where the task set lies or goes; a temporary folder if left out")
    arguments.add_argument("--jobs", type=int, default=1, help="kinds of faults that are tried side by side")
    arguments.add_argument(
        "kinds", nargs="*", metavar="KIND", help=f"of {', '.join(kind.__name__ for kind in KINDS)}; none: all"
    )
    given = arguments.parse_args()
    kinds = [kind for kind in KINDS if kind.__name__ in given.kinds or not given.kinds]
    rows = try_all(kinds, given.data, given.jobs)
    if given.kinds:
        earlier = json.loads((RESULTS / "faults.json").read_text(encoding="utf-8"))["rows"]
        rows = list(({row["fault"]: Tried(**row) for row in earlier} | {row.fault: row for row in rows}).values())
    about = machine("gapo-cli", "torch")
    lines = [
        "# Faults, tried for real",
        "",
        "| fault | exit | what is said | then | the run ends as the one without a fault |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        said = "<br>".join(f"`{line}`" for line in row.said.splitlines())
        lines.append(f"| {row.fault} | {row.code} | {said} | {row.then} | {ENDS[row.recovered]} |")
    lines += [
        "",
        ", ".join(f"{key} {value}" for key, value in about.items()) + ".",
        "",
        "Run it again: `python benchmarks/faults.py`",
        "",
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "faults.md").write_text("\n".join(lines), encoding="utf-8")
    (RESULTS / "faults.json").write_text(
        json.dumps({"machine": about, "rows": [vars(row) for row in rows]}, indent=1) + "\n", encoding="utf-8"
    )
    raise SystemExit(0 if all(row.recovered is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
