"""Folders that hold something of another run or of somebody else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from fault_kinds.trials import STEPS, Trials, Tried, tried


def occupied(trials: Trials) -> Iterator[Tried]:
    run = trials.whole_copy("finished")
    for verb in ("train", "rollout", "eval", "prepare"):
        refused = trials.driver.run([verb, *trials.settings[1:], "hydra.run.dir=finished"], trials.folder, {})
        yield tried(
            f"`gapo {verb}` in the folder of a training run", refused, "nothing: the run is untouched", trials.recovered(run)
        )
    mine = trials.folder / "mine"
    for name in ("checkpoints/step-00080/weights", "report.html", "notes.txt"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("mine", encoding="utf-8")
    before = hashes(mine)
    refused = trials.train("hydra.run.dir=mine")
    recovered = trials.ends_whole("hydra.run.dir=beside") and hashes(mine) == before
    yield tried("somebody else's checkpoints, pages and notes in the folder", refused, "another folder", recovered)
    refused = trials.train("hydra.run.dir=")
    yield tried(
        "an empty `hydra.run.dir=`", refused, "nothing: nothing was written", not (trials.folder / "checkpoints").exists()
    )


def older_checkpoints(trials: Trials) -> Iterator[Tried]:
    """A checkpoint of another run, with a higher number, among this run's own when it goes on."""
    run = trials.whole_copy("older")
    (run / "checkpoints" / f"step-{STEPS:05d}" / "manifest.json").unlink()
    theirs = run / "checkpoints" / "step-00080"
    theirs.mkdir()
    (theirs / "weights").write_text("theirs", encoding="utf-8")
    went_on = trials.train("hydra.run.dir=older", "resume=auto")
    kept = (theirs / "weights").read_text(encoding="utf-8") == "theirs"
    (theirs / "weights").unlink()
    theirs.rmdir()
    recovered = went_on["status"] == 0 and kept and trials.recovered(run)
    yield tried("a checkpoint of another run beside new ones", went_on, "nothing: it stays, and so do the new ones", recovered)


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
