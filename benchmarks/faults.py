"""Makes what can befall `gapo train` happen, on purpose and for real, and shows the sentence that comes out of each fault.

Each fault is followed by what its sentence advises, and the run must come out as the one that nothing befell. The kinds of faults,
and how each is produced, are in the modules of fault_kinds.

    python benchmarks/faults.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--data", type=Path, help="where the task set lies or goes; a temporary folder if left out")
    given = arguments.parse_args()
    from kill_driver import KillDriver

    rows: list[Tried] = []
    with tempfile.TemporaryDirectory() as temporary, KillDriver() as driver:
        folder = Path(temporary).resolve() / "faults"
        folder.mkdir()
        trials = Trials(folder, (given.data or folder / "data").resolve(), driver)
        for befall in KINDS:
            for row in befall(trials):
                row = replace(row, said=row.said.replace(str(folder), "…"))
                rows.append(row)
                print(f"{row.fault}: exit {row.code}, {row.then}: {ENDS[row.recovered]}\n    {row.said}", flush=True)
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
