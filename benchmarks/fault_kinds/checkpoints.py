"""Damage done to the newest checkpoint of a finished run, and to its metrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fault_kinds.trials import STEPS, Trials, Tried, tried


def damages(trials: Trials) -> Iterator[Tried]:
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
        yield damaged(trials, what, damage, f"damaged-{number}")
    run = trials.whole_copy("torn")
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "time')
    again = trials.train("hydra.run.dir=torn", "resume=auto")
    yield tried(
        "half a row of metrics", again, "nothing: resume=auto takes it back", again["status"] == 0 and trials.recovered(run)
    )


def damaged(trials: Trials, what: str, damage: Callable[[Path], None], name: str) -> Tried:
    run = trials.whole_copy(name)
    damage(run / "checkpoints" / f"step-{STEPS:05d}")
    named = trials.train(f"resume={name}")
    again = trials.train(f"hydra.run.dir={name}", "resume=auto")
    lines = [line for line in again["output"].splitlines() if line.startswith("resume=auto: ")][1:]
    done = tried(what, named, "resume=auto", again["status"] == 0 and trials.recovered(run))
    return replace(done, said="\n".join([done.said, *lines]))
