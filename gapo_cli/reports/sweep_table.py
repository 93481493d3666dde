"""The table and the plot of a sweep: mean and spread over seeds for each setting, differences paired by seed with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapo_cli.metric_names import GREEDY_EXACT, SAMPLED_EXACT
from gapo_cli.reports.tables import Table
from gapo_cli.statistics.over_seeds import MEASURES, PAIRED, JobRecord, settings_table
from gapo_cli.storage.files import atomic_path

HEADINGS = (
    "setting", "runs", "greedy before", "greedy after", "greedy best", "sampled before", "sampled after", "sampled best",
    "greedy - first", "sampled - first", "clip fraction", "wall time",
)  # fmt: skip


def text_rows(table: Any) -> list[tuple[str, ...]]:
    """`settings_table` as text under HEADINGS: "mean ± spread"; a setting without a finished run says failed."""
    rows = []
    for row in table.to_dict("records"):
        total = row["runs"] + row["failed"]
        rows.append(
            (
                row["setting"],
                f"{row['runs']}/{total}" + (f" ({row['failed']} failed)" if row["failed"] else ""),
                *(mean_and_spread(row, measure) for measure in MEASURES[:6]),
                *(difference(row, f"{measure}_difference") for measure in PAIRED),
                mean_and_spread(row, "clip_fraction", digits=4),
                mean_and_spread(row, "seconds", digits=1, unit=" s"),
            )
        )
    return rows


def mean_and_spread(row: Mapping[str, Any], measure: str, sign: str = "", digits: int = 3, unit: str = "") -> str:
    mean, spread = row[f"{measure}_mean"], row[f"{measure}_std"]
    if math.isnan(mean):
        return "–"
    return f"{mean:{sign}.{digits}f}" + ("" if math.isnan(spread) else f" ± {spread:.{digits}f}") + unit


def difference(row: Mapping[str, Any], measure: str) -> str:
    """Mean and 95 % interval; one pair has no interval, equal differences have none to claim."""
    mean, low, high = (row[f"{measure}_{name}"] for name in ("mean", "low", "high"))
    if math.isnan(mean):
        return "–"
    return f"{mean:+.3f}" + ("" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")


def job_rows(jobs: Sequence[JobRecord]) -> list[tuple[str, ...]]:
    """Every job as text: number, setting, seed, exact match after, wall time, and how it ended."""
    rows = []
    for job in jobs:
        values = job.values()
        numbers = ("–" if math.isnan(values[name]) else f"{values[name]:.3f}" for name in ("greedy_final", "sampled_final"))
        rows.append(
            (
                str(job.number),
                job.setting,
                job.seed,
                *numbers,
                f"{job.seconds:.1f} s",
                f"FAILED: {job.error}" if job.error else "done",
            )
        )
    return rows


JOB_HEADINGS = ("job", "setting", "seed", "greedy after", "sampled after", "wall time", "ended")


EXPLANATION = (
    "Exact match on held-out tasks, greedy and sampled: mean ± standard deviation over seeds. Differences are against the "
    "first setting, paired by seed, with 95 % t intervals: of one pair there is none."
)


def markdown(jobs: Sequence[JobRecord], command: str) -> str:
    """The sweep as markdown: settings, then jobs."""
    settings = Table("", HEADINGS, tuple(text_rows(settings_table(jobs)))).to_markdown()
    each = Table("", JOB_HEADINGS, tuple(job_rows(jobs))).to_markdown()
    return "\n\n".join(["# Sweep", f"`{command}`", EXPLANATION, settings, "## Jobs", each]) + "\n"


def plot(jobs: Sequence[JobRecord], path: Path) -> None:
    """Learning curves, greedy and sampled beside each other: thin a job, thick the mean of a setting over the steps that
    all its finished jobs evaluated."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = list(dict.fromkeys(job.setting for job in jobs))
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    colours = colormaps["tab10"]
    for axes, (title, key) in zip(
        figure.subplots(1, 2, sharey=True), (("greedy", GREEDY_EXACT), ("sampled", SAMPLED_EXACT)), strict=True
    ):
        for number, setting in enumerate(settings):
            colour = colours(number % 10)
            curves = [dict(job.curve(key)) for job in jobs if job.setting == setting and job.error is None]
            for curve in curves:
                axes.plot(list(curve), list(curve.values()), color=colour, linewidth=0.8, alpha=0.5)
            shared = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
            means = [sum(curve[step] for curve in curves) / len(curves) for step in shared]
            label = setting if curves else f"{setting} (failed)"
            axes.plot(shared, means, color=colour, linewidth=2.2, marker="o", markersize=3, label=label)
        axes.set_title(f"held-out exact match, {title}")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
