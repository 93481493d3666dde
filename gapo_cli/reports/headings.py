"""What a run was, in a few words, and how several runs stand beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapo_cli.evaluation.predictions import MODES
from gapo_cli.evaluation.summary import Breakdown
from gapo_cli.metric_names import CLIPPED, STEP, TIME
from gapo_cli.models.nano.base_note import base_note
from gapo_cli.quantities import duration
from gapo_cli.reports.tables import NOTHING, Table, answers_of, with_interval
from gapo_cli.runs.run_data import RunData, change_of
from gapo_cli.statistics.intervals import Measure

MOST_SETTINGS = 6
"""Columns of settings in which runs differ; more would be a second config."""
NOT_SETTINGS = ("verb", "resume")


@dataclass(frozen=True)
class Fact:
    """One thing to know of a run: a label, its value, and a smaller line below it."""

    label: str
    value: str
    detail: str = ""


def part_name(section: Any) -> str:
    """What a config section builds, with its plain settings, as "GAPO tau=0.5"; "" for a missing one."""
    if not isinstance(section, Mapping):
        return ""
    name = str(section.get("_target_") or section.get("name") or "").rsplit(".", 1)[-1]
    settings = (
        f"{key}={value}" for key, value in section.items() if not key.startswith("_") and isinstance(value, (int, float))
    )
    return " ".join([name, *settings] if section.get("_target_") else [name])


def run_words(run: RunData) -> list[tuple[str, str]]:
    """(label, value) for the line under the heading."""
    other = None if run.learner.get("samples", True) else run.learner.get("title")
    model = run.setting("model", "name")
    base = run.setting("model", "base")
    critic = run.setting("algorithm", "critic")
    found = [
        ("model", f"{model} ({base} base)" if base else model),
        ("estimator", None if other or critic else part_name(run.setting("estimator"))),
        ("algorithm", other or run.setting("algorithm", "name")),
        ("critic", None if other else critic),
        ("reward", None if other else part_name(run.setting("reward"))),
        ("data", run.setting("data", "name")),
        ("seed", run.setting("seed")),
    ]
    if run.setting("verb") == "eval":
        found = [pair for pair in found if pair[0] in ("model", "data", "seed")]
    return [(label, str(value)) for label, value in found if value not in (None, "")]


def base_notes(runs: Sequence[RunData]) -> list[str]:
    """What must be known of the models that the runs started from, each said once."""
    notes = (base_note(str(run.setting("model", "path") or "")) for run in runs)
    return list(dict.fromkeys(note for note in notes if note is not None))


def facts(run: RunData) -> list[Fact]:
    """Exact match before and after, how far the run went, how long it took."""
    found = []
    changes = change_of(run)
    for mode in MODES:
        measured = run.exact_match(mode)
        if not measured:
            continue
        (_, first), (step, last) = measured[0], measured[-1]
        if len(measured) == 1:
            where = f"at step {step:g}" if run.metrics else ""
            found.append(Fact(f"exact match, {mode}", points(last), ", ".join(filter(None, (where, interval_words(last))))))
        else:
            change = difference_words(first, last, changes.get(mode, Measure()))
            found.append(Fact(f"exact match, {mode}", f"{points(first)} → {points(last)}", change))
    steps = [row[STEP] for row in run.metrics if isinstance(row.get(STEP), int)]
    if steps:
        planned = run.learner.get("steps")
        best = f"best model: step {run.best['step']}" if run.best and "step" in run.best else ""
        found.append(Fact("steps", f"{max(steps)}" + (f" of {planned}" if planned and planned != max(steps) else ""), best))
    seconds = wall_time(run)
    if seconds is not None:
        found.append(Fact("wall time", duration(seconds), "evaluations included"))
    return found


def points(measure: Measure) -> str:
    return NOTHING if measure.value is None else f"{100 * measure.value:.1f} %"


def interval_words(measure: Measure) -> str:
    return (
        ""
        if measure.low is None or measure.high is None
        else f"95 % interval {100 * measure.low:.1f} to {100 * measure.high:.1f}"
    )


def difference_words(first: Measure, last: Measure, paired: Measure) -> str:
    """As "+5.3 points, 95 % interval +1.0 to +9.7, paired by task"."""
    if paired.value is None:
        if first.value is None or last.value is None:
            return ""
        return f"{100 * (last.value - first.value):+.1f} points"
    words = f"{100 * paired.value:+.1f} points"
    if paired.low is None or paired.high is None:
        return words
    return f"{words}, 95 % interval {100 * paired.low:+.1f} to {100 * paired.high:+.1f}, paired by task"


def wall_time(run: RunData) -> float | None:
    times = [value for _, value in run.curve(TIME)]
    return max(times) if times else None


def before_and_after(run: RunData) -> dict[str, Breakdown]:
    """The answers that stand side by side for one run: first and last evaluation, then the baselines."""
    if not run.evaluations:
        return {}
    first, last = run.evaluations[0], run.evaluations[-1]
    if first is last:
        return answers_of(last.summary, last.baselines, "model")
    before, after = answers_of(first.summary, {}, "before"), answers_of(last.summary, last.baselines, "after")
    # greedy beside greedy, sampled beside sampled, then the baselines
    ordered = [name for mode in ("greedy", "sampled") for name in (f"before, {mode}", f"after, {mode}")]
    both = before | after
    return {name: both[name] for name in [*ordered, *both] if name in both}


def comparison_table(runs: Sequence[RunData]) -> Table:
    """One row a run: the settings in which they differ, exact match before and after, clip fraction, time."""
    keys, settings = differing_settings(runs)
    rows = []
    for run, own in zip(runs, settings, strict=True):
        cells = [run.name, *own]
        changes = change_of(run)
        for mode in MODES:
            found = run.exact_match(mode)
            cells += [with_interval(found[0][1]), with_interval(found[-1][1])] if found else [NOTHING, NOTHING]
            cells.append(signed_points(changes.get(mode, Measure())))
        clipped = [value for _, value in run.curve(CLIPPED)]
        seconds = wall_time(run)
        cells += [
            f"{sum(clipped) / len(clipped):.4f}" if clipped else NOTHING,
            NOTHING if seconds is None else duration(seconds),
            "incomplete" if run.notes else "complete",
        ]
        rows.append(tuple(cells))
    columns = (
        "run", *keys, "greedy before", "greedy after", "change", "sampled before", "sampled after", "change", "clip fraction",
        "wall time", "state",
    )  # fmt: skip
    return Table(
        "", columns, tuple(rows), "Exact match in percent; in brackets 95 % intervals, those of the changes paired by task."
    )


def signed_points(measure: Measure) -> str:
    if measure.value is None or measure.low is None or measure.high is None:
        return NOTHING if measure.value is None else f"{100 * measure.value:+.1f}"
    return f"{100 * measure.value:+.1f} [{100 * measure.low:+.1f}, {100 * measure.high:+.1f}]"


def differing_settings(runs: Sequence[RunData]) -> tuple[list[str], list[list[str]]]:
    """The settings in which the runs' configs differ, by their last names, and each run's values."""
    flat = [flat_settings(run.config) for run in runs]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if len({one.get(key) for one in flat}) > 1]
    keys = [key for key in keys if key not in NOT_SETTINGS][:MOST_SETTINGS]
    leaves = [key.rsplit(".", 1)[-1] for key in keys]
    names = [leaf if leaves.count(leaf) == 1 and leaf != "_target_" else key for leaf, key in zip(leaves, keys, strict=True)]
    values = [
        [one.get(key, NOTHING).rsplit(".", 1)[-1] if key.endswith("_target_") else one.get(key, NOTHING) for key in keys]
        for one in flat
    ]
    return [name.removesuffix("._target_") for name in names], values


def flat_settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat_settings(value, f"{name}.")
        else:
            found[name] = str(value)
    return found
