"""Signals while a run learns and while it saves, and an output that cannot be written."""

from __future__ import annotations

from collections.abc import Iterator

from fault_kinds.trials import Trials, Tried, tried


def signals(trials: Trials) -> Iterator[Tried]:
    third_step = "step-00003.parquet"
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):
        run = name.lower()
        stopped = trials.train(f"hydra.run.dir={run}", file=third_step, signals=[name])
        recovered = trials.ends_whole(f"resume={run}", stopped=True)
        yield tried(f"{name} in a step", stopped, "resume=RUN", recovered, said="stopped after")
    stopped = trials.train("hydra.run.dir=group", file=third_step, signals=["SIGTERM", "SIGTERM"])
    recovered = trials.ends_whole("resume=group", stopped=True)
    yield tried("SIGTERM twice in a step, as from `timeout`", stopped, "resume=RUN", recovered, said="stopped after")
    stopped = trials.train("hydra.run.dir=twice", file="step-00002/trainer_state.json", signals=["SIGTERM", "SIGTERM"])
    yield tried(
        "SIGTERM twice while a checkpoint is half written",
        stopped,
        "resume=RUN",
        trials.ends_whole("resume=twice", stopped=True),
        said="stopped after",
    )


def screens(trials: Trials) -> Iterator[Tried]:
    gone = trials.train("hydra.run.dir=unread", file="step-00002.parquet", reader="leaves")
    recovered = gone["status"] == 0 and trials.recovered(trials.folder / "unread")
    yield tried("the reader of the output goes away, as with `head`", gone, "nothing: the run goes on", recovered)
    full = trials.train("hydra.run.dir=full", stdout="/dev/full")
    yield tried("a full device as output", full, "nothing: the run goes on", trials.recovered(trials.folder / "full"))
