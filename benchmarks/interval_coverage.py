"""How often the 95 % intervals of gapo's comparisons hold the truth, simulated: 93 to 97 % is what they should.

    python benchmarks/interval_coverage.py --repeats 2000

Each row draws data whose true value is known, many times over, and counts. Differences over seeds are normal or skewed; exact match
over seeds and tasks is drawn with effects of seeds, of tasks and of neither, as a study has them.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tables import table_line, write

from gapo_cli.statistics.aggregates import interquartile_mean, probability_of_improvement
from gapo_cli.statistics.intervals import Measure, measure_differences, wilson
from gapo_cli.statistics.seed_differences import seed_difference
from gapo_cli.statistics.seeds_and_tasks import seeds_and_tasks

Interval = tuple[float | None, float | None]
RESAMPLES = 1000
WANTED = (0.93, 0.97)


@dataclass(frozen=True)
class Case:
    """`draw` gives the interval that one simulated experiment ends with, `truth` what it should hold."""

    name: str
    truth: float
    draw: Callable[[np.random.Generator], Interval]


def of(found: Measure) -> Interval:
    return found.low, found.high


def t_case(seeds: int, kind: str) -> Case:
    def draw(generator: np.random.Generator) -> Interval:
        noise = generator.standard_normal(seeds) if kind == "normal" else generator.gamma(4, size=seeds) / 2 - 2
        found = seed_difference(0.02 + 0.03 * noise)
        return found.low, found.high

    return Case(f"t interval, {seeds} seeds, {kind} differences", 0.02, draw)


def interquartile_case(seeds: int) -> Case:
    # a symmetric distribution: its interquartile mean is its mean
    return Case(
        f"interquartile mean, {seeds} seeds",
        0.6,
        lambda generator: of(interquartile_mean(generator.normal(0.6, 0.03, (seeds, 1)), 0, RESAMPLES)),
    )


def improvement_case(seeds: int) -> Case:
    from scipy.stats import norm

    shift = 0.02
    return Case(
        f"probability of improvement, {seeds} seeds",
        float(norm.cdf(shift / (0.03 * 2**0.5))),
        lambda generator: of(
            probability_of_improvement(generator.normal(shift, 0.03, seeds), generator.normal(0, 0.03, seeds), 0, RESAMPLES)
        ),
    )


def crossed_case(seeds: int, tasks: int, of_seeds: float, of_tasks: float) -> Case:
    """Differences -1, 0 or 1 a task, whose chances move with the seed and the task."""

    def draw(generator: np.random.Generator) -> Interval:
        shift = 0.02 + generator.normal(0, of_seeds, (seeds, 1)) + generator.normal(0, of_tasks, tasks)
        ours = generator.random((seeds, tasks)) < np.clip(0.5 + shift / 2, 0, 1)
        theirs = generator.random((seeds, tasks)) < np.clip(0.5 - shift / 2, 0, 1)
        return of(seeds_and_tasks(ours.astype(float) - theirs, 0, RESAMPLES))

    name = f"seeds and tasks, {seeds} seeds, {tasks} tasks, spread {of_seeds:g} by seed, {of_tasks:g} by task"
    return Case(name, 0.02, draw)


def tasks_case(tasks: int) -> Case:
    def draw(generator: np.random.Generator) -> Interval:
        return of(measure_differences(generator.choice([-1.0, 0.0, 1.0], tasks, p=[0.08, 0.8, 0.12])))

    return Case(f"bootstrap over {tasks} tasks", 0.04, draw)


def wilson_case(tasks: int, share: float) -> Case:
    return Case(
        f"Wilson, {tasks} tasks, {share:g}", share, lambda generator: of(wilson(generator.binomial(tasks, share), tasks))
    )


CASES = (
    *(t_case(seeds, kind) for seeds in (3, 5, 10, 20) for kind in ("normal", "skewed")),
    *(interquartile_case(seeds) for seeds in (5, 10, 20)),
    *(improvement_case(seeds) for seeds in (5, 10, 20)),
    *(crossed_case(seeds, 200, *spread) for seeds in (5, 10) for spread in ((0.0, 0.0), (0.03, 0.0), (0.02, 0.3))),
    tasks_case(300),
    *(wilson_case(tasks, share) for tasks, share in ((100, 0.5), (600, 0.3))),
)


def coverage(case: Case, repeats: int, seed: int) -> float:
    """The share of `repeats` intervals that hold the truth; a missing interval holds nothing."""
    generator = np.random.default_rng(seed)
    held = 0
    for _ in range(repeats):
        low, high = case.draw(generator)
        held += low is not None and high is not None and low <= case.truth <= high
    return held / repeats


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=2000)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", default="", metavar="TEXT", help="intervals with this in their name; nothing is written")
    given = arguments.parse_args()
    rows = []
    for case in (case for case in CASES if given.only in case.name):
        started = time.monotonic()
        share = coverage(case, given.repeats, given.seed)
        rows.append({"interval": case.name, "coverage": share, "repeats": given.repeats, "seconds": time.monotonic() - started})
        mark = "" if WANTED[0] <= share <= WANTED[1] else "  outside 93 to 97 %"
        print(f"{case.name:75}{share:7.1%}{mark}", flush=True)
    if given.only:
        return
    head = ("interval", "holds the truth, %")
    lines = [table_line([row["interval"], f"{100 * row['coverage']:.1f}"]) for row in rows]
    table = [table_line(head), "|---|---:|", *lines]
    text = f"{given.repeats:,} simulated experiments a row, seed {given.seed}; a share's standard error is below 0.5 points."
    command = shlex.join(["python", "benchmarks/interval_coverage.py", *sys.argv[1:]])
    write("interval_coverage", ["# Coverage of the 95 % intervals", "", *table, "", text, "", f"Run it again: `{command}`"],
          {"numpy": np.__version__, "python": platform.python_version()}, rows)  # fmt: skip


if __name__ == "__main__":
    main()
