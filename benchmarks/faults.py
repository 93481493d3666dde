"""Breaks what `gapo train` writes on, on purpose and for real, and shows the sentence that comes out of each fault.

A full disk and a read-only one are small file systems of their own where this may mount (Linux, as root); elsewhere the full disk
is a limit on the size of files and the read-only one is left out. Damage is done to the newest checkpoint of a finished run.
Every fault is followed by what its sentence advises, and the run must come out as the one that nothing befell.

    python benchmarks/faults.py
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measure import machine
from tables import RESULTS

from gapo_cli.quantities import MEBIBYTE

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
STEPS = 4
SETTINGS = [
    "experiment=debug", "data.limit=48", "sampling.group_size=2", "sampling.max_new_tokens=8", f"trainer.steps={STEPS}", "trainer.threads=1",
    "trainer.checkpoint_every=2", "trainer.prompts_per_step=2", "trainer.prompts_per_mini_batch=2", "evaluation.tasks=2",
    "evaluation.samples=0", "evaluation.every_steps=0",
]  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """`said`: what came out; `code`: the exit code; `then`: what was done about it; `recovered`: the run ended as the whole one."""

    fault: str
    code: int
    said: str
    then: str
    recovered: bool


class Faults:
    """Runs commands in `folder`, where the run that nothing befell lies in `whole`."""

    def __init__(self, folder: Path, driver: Any) -> None:
        self.folder, self.driver = folder, driver
        self.settings = ["train", *SETTINGS, f"data.directory={folder / 'data'}"]
        done = self.train("hydra.run.dir=whole")
        if done["status"]:
            raise SystemExit(done["output"])

    def train(self, *words: str, **limits: int) -> dict[str, Any]:
        return self.driver.run([*self.settings, *words], self.folder, limits)

    def recovered(self, run: Path) -> bool:
        from gapo_cli.runs.contents import differences

        return differences(self.folder / "whole", run) == []

    def whole_copy(self, name: str) -> Path:
        """The finished run again, as one that was killed at its end."""
        run = self.folder / name
        shutil.copytree(self.folder / "whole", run)
        (run / "outcome.json").write_text('{"status": "running"}')
        return run

    def full_disk(self) -> Iterator[Tried]:
        # 5 MiB of weights, and twice as much of Adam's moments in a checkpoint
        for what, size in {"the first model": 4, "the second checkpoint": 28}.items():
            with mounted(self.folder / f"small-{size}", size * MEBIBYTE) as disk:
                run = (disk or self.folder) / "run"
                limits = {} if disk else {"largest_file": size * MEBIBYTE}
                failed = self.train(f"hydra.run.dir={run}", **limits)
                if disk:
                    subprocess.run(["mount", "-o", f"remount,size={200 * MEBIBYTE}", disk], check=True)
                again = self.train(f"hydra.run.dir={run}", "resume=auto")
                yield tried(
                    f"disk full at {what}", failed, "more space, resume=auto", again["status"] == 0 and self.recovered(run)
                )
            if disk is None:
                return

    def read_only_disk(self) -> Iterator[Tried]:
        with mounted(self.folder / "fixed", 200 * MEBIBYTE) as disk:
            if disk is None:
                return
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            failed = self.train(f"hydra.run.dir={disk / 'run'}")
            elsewhere = self.train("hydra.run.dir=elsewhere")
            recovered = elsewhere["status"] == 0 and self.recovered(self.folder / "elsewhere")
            yield tried("read-only folder at the start", failed, "another folder", recovered)
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            shutil.copytree(self.folder / "whole", disk / "run")
            shutil.rmtree(disk / "run" / "checkpoints" / f"step-{STEPS:05d}")
            (disk / "run" / "outcome.json").write_text('{"status": "running"}')
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            failed = self.train(f"hydra.run.dir={disk / 'run'}", "resume=auto")
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            again = self.train(f"hydra.run.dir={disk / 'run'}", "resume=auto")
            yield tried(
                "read-only folder of a run that is resumed",
                failed,
                "made writable, resume=auto",
                again["status"] == 0 and self.recovered(disk / "run"),
            )

    def second_process(self) -> Iterator[Tried]:
        command = [sys.executable, "-m", "gapo_cli", *self.settings, "hydra.run.dir=shared"]
        first = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL)
        while not (self.folder / "shared" / "metrics.jsonl").exists() and first.poll() is None:
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)  # or it might be done before the second one comes
        failed = self.train("hydra.run.dir=shared", "resume=auto")
        first.send_signal(signal.SIGCONT)
        first.wait()
        yield tried(
            "second process in the same run directory",
            failed,
            "the first one went on",
            first.returncode == 0 and self.recovered(self.folder / "shared"),
        )

    def damages(self) -> Iterator[Tried]:
        def cut(checkpoint: Path) -> None:
            os.truncate(checkpoint / "model.safetensors", 1000)

        def flip(checkpoint: Path) -> None:
            with (checkpoint / "trainer_state.safetensors").open("r+b") as stream:
                stream.seek(-1, os.SEEK_END)
                last = stream.read(1)
                stream.seek(-1, os.SEEK_END)
                stream.write(bytes([last[0] ^ 1]))

        def remove(checkpoint: Path) -> None:
            (checkpoint / "config.json").unlink()

        def remove_manifest(checkpoint: Path) -> None:
            (checkpoint / "manifest.json").unlink()

        def cut_manifest(checkpoint: Path) -> None:
            os.truncate(checkpoint / "manifest.json", 100)

        def all_of_them(checkpoint: Path) -> None:
            for path in checkpoint.parent.glob("step-*"):
                remove(path)

        for number, (what, damage) in enumerate(
            {
                "checkpoint with a file of the wrong size": cut,
                "checkpoint with one bit flipped": flip,
                "checkpoint with a file missing": remove,
                "checkpoint without its manifest": remove_manifest,
                "checkpoint with half a manifest": cut_manifest,
                "all checkpoints damaged": all_of_them,
            }.items()
        ):
            yield self.damaged(what, damage, f"damaged-{number}")
        run = self.whole_copy("torn")
        with (run / "metrics.jsonl").open("a") as stream:
            stream.write('{"step": 5, "time')
        again = self.train("hydra.run.dir=torn", "resume=auto")
        yield tried(
            "half a row of metrics", again, "nothing: resume=auto takes it back", again["status"] == 0 and self.recovered(run)
        )

    def damaged(self, what: str, damage: Callable[[Path], None], name: str) -> Tried:
        run = self.whole_copy(name)
        damage(run / "checkpoints" / f"step-{STEPS:05d}")
        named = self.train(f"resume={name}")
        again = self.train(f"hydra.run.dir={name}", "resume=auto")
        lines = [line for line in again["output"].splitlines() if line.startswith("resume=auto: ")][1:]
        done = tried(what, named, "resume=auto", again["status"] == 0 and self.recovered(run))
        return replace(done, said="\n".join([done.said, *lines]))


def tried(fault: str, failed: dict[str, Any], then: str, recovered: bool) -> Tried:
    said = next((line for line in failed["output"].splitlines() if line.startswith("gapo: ")), "nothing")
    return Tried(fault, failed["status"], said, then, recovered)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path | None]:
    """A file system of `size` bytes in memory; None where this process may not mount one."""
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "gapo", folder], check=False).returncode
    ):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    from kill_driver import KillDriver

    rows: list[Tried] = []
    with tempfile.TemporaryDirectory() as temporary, KillDriver() as driver:
        folder = Path(temporary).resolve() / "faults"
        folder.mkdir()
        faults = Faults(folder, driver)
        for tries in (faults.full_disk(), faults.read_only_disk(), faults.second_process(), faults.damages()):
            for row in tries:
                row = Tried(row.fault, row.code, row.said.replace(str(folder), "…"), row.then, row.recovered)
                rows.append(row)
                print(
                    f"{row.fault}: exit {row.code}, {row.then}: {'as the whole run' if row.recovered else 'NOT RECOVERED'}\n    {row.said}",
                    flush=True,
                )
    about = machine("gapo-cli", "torch")
    lines = [
        "# Faults, tried for real",
        "",
        "| fault | exit | what is said | then | the run ends as the one without a fault |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        said = "<br>".join(f"`{line}`" for line in row.said.splitlines())
        lines.append(f"| {row.fault} | {row.code} | {said} | {row.then} | {'yes' if row.recovered else '**no**'} |")
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
    raise SystemExit(0 if all(row.recovered for row in rows) else 1)


if __name__ == "__main__":
    main()
