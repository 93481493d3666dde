"""Full and read-only disks, and a second process in the folder.

Where this may mount (Linux, as root) the disks are small file systems of their own; elsewhere the full disk is a limit on the size
of files, and the read-only one is left out.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault_kinds.trials import STEPS, Trials, Tried, tried
from gapo_cli.quantities import MEBIBYTE


def full_disk(trials: Trials) -> Iterator[Tried]:
    # 5 MiB of weights, and twice as much of Adam's moments in a checkpoint
    for what, size in {"the first model": 4, "the second checkpoint": 28}.items():
        with mounted(trials.folder / f"small-{size}", size * MEBIBYTE) as disk:
            run = (disk or trials.folder) / "run"
            limits = {} if disk else {"largest_file": size * MEBIBYTE}
            failed = trials.train(f"hydra.run.dir={run}", **limits)
            if disk:
                subprocess.run(["mount", "-o", f"remount,size={200 * MEBIBYTE}", disk], check=True)
            again = trials.train(f"hydra.run.dir={run}", "resume=auto")
            yield tried(
                f"disk full at {what}", failed, "more space, resume=auto", again["status"] == 0 and trials.recovered(run)
            )
        if disk is None:
            return


def read_only_disk(trials: Trials) -> Iterator[Tried]:
    with mounted(trials.folder / "fixed", 200 * MEBIBYTE) as disk:
        if disk is None:
            return
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        failed = trials.train(f"hydra.run.dir={disk / 'run'}")
        elsewhere = trials.train("hydra.run.dir=elsewhere")
        recovered = elsewhere["status"] == 0 and trials.recovered(trials.folder / "elsewhere")
        yield tried("read-only folder at the start", failed, "another folder", recovered)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        shutil.copytree(trials.folder / "whole", disk / "run")
        shutil.rmtree(disk / "run" / "checkpoints" / f"step-{STEPS:05d}")
        (disk / "run" / "outcome.json").write_text('{"status": "running"}')
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        failed = trials.train(f"hydra.run.dir={disk / 'run'}", "resume=auto")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        again = trials.train(f"hydra.run.dir={disk / 'run'}", "resume=auto")
        yield tried(
            "read-only folder of a run that is resumed",
            failed,
            "made writable, resume=auto",
            again["status"] == 0 and trials.recovered(disk / "run"),
        )


def second_process(trials: Trials) -> Iterator[Tried]:
    command = [sys.executable, "-m", "gapo_cli", *trials.settings, "hydra.run.dir=shared"]
    first = subprocess.Popen(command, cwd=trials.folder, stdout=subprocess.DEVNULL)
    while not (trials.folder / "shared" / "metrics.jsonl").exists() and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the second one comes
    failed = trials.train("hydra.run.dir=shared", "resume=auto")
    first.send_signal(signal.SIGCONT)
    first.wait()
    yield tried(
        "second process in the same run directory",
        failed,
        "the first one went on",
        first.returncode == 0 and trials.recovered(trials.folder / "shared"),
    )


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
