"""What the calls that several processes need cost a process alone: their own CPU seconds in the steps of step_profile.py.

Every call of a run's `Ranks` is watched, without what it carries out for its caller. The watching itself is in the figure, so the
calls cost less than it says.
"""

from __future__ import annotations

import inspect
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import machine
from step_profile import arguments_of, make_steps
from stopwatch import Steps, Stopwatch
from tables import command_of, publish, seconds, table_line

from gapo_cli.processes.ranks import Ranks
from gapo_cli.training.lifecycle import Life

CALLS = [name for name, _ in inspect.getmembers(Ranks, inspect.isfunction) if not name.startswith("_")]
OWN, CARRIED = "the calls", "what they carry out"


class Carried:
    """Work that a call is given."""

    @staticmethod
    def out(work: Callable[[], Any]) -> Any:
        return work()


@contextmanager
def watched() -> Iterator[tuple[Steps, list[int]]]:
    """The steps of any run, as they come, and how many calls each made."""
    watch, steps, counts, made = Stopwatch(), Steps(), [], [0]
    kept = {name: getattr(Ranks, name) for name in CALLS}
    take_step = Life._take_step

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def of(self: Ranks, *given: Any, **settings: Any) -> Any:
            made[0] += 1
            return call(self, *((lambda one=one: Carried.out(one)) if callable(one) else one for one in given), **settings)

        return of

    def timed_step(self: Life, step: int) -> None:
        watch.spent.clear()
        made[0], cpu, wall = 0, time.process_time(), time.perf_counter()
        take_step(self, step)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        steps.add(cpu, wall, watch.lap(cpu))
        counts.append(made[0])

    watch.watch(Carried, "out", CARRIED)
    for name, call in kept.items():
        setattr(Ranks, name, counted(call))
        watch.watch(Ranks, name, OWN)
    Life._take_step = timed_step
    try:
        yield steps, counts
    finally:
        Life._take_step = take_step
        watch.unwatch()
        for name, call in kept.items():
            setattr(Ranks, name, call)


def main() -> None:
    arguments = arguments_of(__doc__)
    given = arguments.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    rows, lines = [], []
    for name in given.models:
        with watched() as (all_steps, calls):
            make_steps(name, given)
        steps, calls = all_steps.without_first(1), calls[1:]
        shares = steps.share([OWN])
        rows.append(
            {"model": name, "calls": calls, "calls_seconds": steps.part(OWN), "cpu_seconds": steps.cpu, "shares": shares}
        )
        lines.append(table_line([
            name, f"{statistics.median(calls):.0f}", seconds(steps.part(OWN)), seconds(steps.cpu),
            f"**{statistics.median(shares):.4%}**", f"{min(shares):.4%} to {max(shares):.4%}",
        ]))  # fmt: skip
    publish(
        Path(__file__).stem,
        "What the calls for several processes cost a process alone",
        ["model", "calls a step", "CPU of the calls, median", "CPU of the step, median", "share, median", "lowest to highest"],
        lines,
        f"{given.repeats} steps, the first left out.",
        machine("torch", "transformers") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, arguments, given),
    )


if __name__ == "__main__":
    main()
