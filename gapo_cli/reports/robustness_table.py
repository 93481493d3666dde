"""Exact match under perturbations as a table, and in words what the rows are over."""

from __future__ import annotations

from gapo_cli.evaluation.robustness import OnSameTasks, Robustness
from gapo_cli.reports.tables import NOTHING, Table, percent, with_interval
from gapo_cli.statistics.intervals import Measure

WORST = "worst of all"
COLUMNS = ("greedy exact match, %", "tasks", "perturbed", "the same tasks clean", "drop", "same answer")


def robustness_table(found: Robustness) -> Table:
    """One row a perturbation, then the worst of them by task, then sampled answers."""
    rows = [("clean", str(found.tasks), NOTHING, with_interval(found.clean), NOTHING, NOTHING)]
    rows += [_row(name, one) for name, one in found.under.items()]
    if len(found.under) > 1:
        rows.append(_row(WORST, found.worst))
    if found.sampled is not None:
        rows.append(_row(f"sampled at temperature {found.temperature:g}", found.sampled))
    note = (
        "Each row is over the tasks that its perturbation applies to, so compare rows by their drop (in points) only. "
        f"{WORST.capitalize()}: right as it is and under each perturbation that applies; same answer: under all of them. "
        "In brackets: 95 % intervals."
    )
    return Table("under perturbations", COLUMNS, tuple(rows), note)


def _row(name: str, one: OnSameTasks) -> tuple[str, ...]:
    return (
        name,
        str(one.tasks),
        with_interval(one.exact_match),
        with_interval(one.clean),
        _points(one.drop),
        with_interval(one.same),
    )


def _points(drop: Measure) -> str:
    if drop.value is None or drop.low is None or drop.high is None:
        return percent(drop)
    return f"{100 * drop.value:.1f} [{100 * drop.low:+.1f}, {100 * drop.high:+.1f}]"


def left_out_lines(found: Robustness) -> list[str]:
    """For each perturbation that does not apply to every task: to how many, and why not to the others."""
    lines = []
    for name, reasons in found.left_out.items():
        if reasons:
            tasks = found.under[name].tasks if name in found.under else 0
            listed = ", ".join(
                f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
            )
            lines.append(f"{name} applies to {tasks:,} of {found.tasks:,} tasks; not to the others: {listed}.")
    return lines
