"""One self-contained HTML page from one run or several: nothing is fetched, and whatever a model said is text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gapo_cli.errors import DataError, UserError
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.estimators.median import Median
from gapo_cli.lab.replay import Variant
from gapo_cli.lab.saved_rewards import read_saved
from gapo_cli.lab.without_pool import compare_on_groups
from gapo_cli.reports.charts import HEIGHT, LEFT, RIGHT, WIDTH
from gapo_cli.reports.curves import learning_curves, shape_chart
from gapo_cli.reports.groups import browse
from gapo_cli.reports.headings import base_notes, before_and_after, comparison_table, facts, run_words
from gapo_cli.reports.lab_tables import negative_table
from gapo_cli.reports.tables import Table, evaluation_tables
from gapo_cli.reports.templates import filled, unescaped
from gapo_cli.runs.layout import CASES, CONFIG
from gapo_cli.runs.run_data import RunData, read_runs, run_folders
from gapo_cli.storage.files import write_text

TEMPLATE, SCRIPT = "report.html.j2", "report.js"
MOST_SHAPE_CHARTS = 8
PAGE_MARK, MARKDOWN_MARK = '<p class="kind">gapo report</p>', "<!-- gapo report -->"
"""What tells a report from a file of somebody else's."""
RIVALS = (
    Variant("grpo", "grpo", GRPO()),
    Variant("gapo tau=0.5", "gapo", GAPO(0.5)),
    Variant("median", "median", Median()),
)
"""What a run's rewards are replayed with, whatever it was trained with."""


def write_report(run_dirs: Sequence[Path], output: Path) -> Path:
    """Writes the page of the runs (a sweep's folder stands for its jobs) to `output` and returns it. What a run lacks is
    said on the page. Raises UserError for a path that is no run."""
    runs = find_runs(run_dirs)
    write_text(output, render(runs, output.parent))
    return output


def write_markdown(run_dirs: Sequence[Path], output: Path) -> Path:
    """The tables alone, as markdown. Raises UserError for a path that is no run."""
    runs = find_runs(run_dirs)
    parts = [f"# {heading(runs)}\n", *(f"{note}\n" for note in base_notes(runs))]
    if len(runs) > 1:
        parts.append(comparison_table(runs).to_markdown())
    for run in runs:
        parts.append(f"## {run.name}\n\n" + ", ".join(f"{label} {value}" for label, value in run_words(run)) + "\n")
        parts += [f"{note}\n" for note in run.notes]
        parts += [f"- {fact.label}: {fact.value}" + (f" ({fact.detail})" if fact.detail else "") + "\n" for fact in facts(run)]
        parts += [table.to_markdown() for table in tables(run)]
        if link := cases_link(run, output.parent):
            parts.append(f"Every case, with history, target and answer: {link}\n")
    parts.append(f"{MARKDOWN_MARK}\n")
    write_text(output, "\n".join(parts))
    return output


def is_report(path: Path) -> bool:
    """Whether a file is a page, or its tables, that `gapo report` wrote."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return PAGE_MARK in text or text.rstrip().endswith(MARKDOWN_MARK)


def find_runs(paths: Sequence[Path]) -> list[RunData]:
    folders = []
    for path in paths:
        found = run_folders(Path(path))
        if not found:
            missing = "no such folder" if not Path(path).exists() else "holds neither a run nor a sweep"
            raise UserError(
                f"{path}: {missing}; name a folder that gapo train, eval, rollout or sweep wrote, as outputs/train/TIME"
            )
        folders += [folder for folder in found if folder not in folders]
    if not folders:
        raise UserError("no run is named; name at least one folder, as outputs/train/TIME")
    return read_runs(folders)


def render(runs: Sequence[RunData], folder: Path) -> str:
    """The page; `folder` is where it will lie, for the links to the runs' pages of cases."""
    group_notes: list[str] = []
    groups = browse(runs, group_notes)
    shapes = [
        chart
        for run in runs[:MOST_SHAPE_CHARTS]
        if (chart := shape_chart(run, run.name if len(runs) > 1 else "Shares of the groups")) is not None
    ]
    return filled(
        TEMPLATE,
        title=heading(runs),
        script=unescaped(SCRIPT),
        runs=[run_parts(run, folder, single=len(runs) == 1) for run in runs],
        base_notes=base_notes(runs),
        notes=[f"{run.name}: {note}" for run in runs for note in run.notes] + group_notes,
        comparison=comparison_table(runs) if len(runs) > 1 else None,
        charts=learning_curves(runs),
        shape_charts=shapes,
        shape_charts_left_out=max(0, len(runs) - MOST_SHAPE_CHARTS),
        negative=negative_tables(runs[:MOST_SHAPE_CHARTS]),
        groups=groups,
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT},
    )


def negative_tables(runs: Sequence[RunData]) -> list[Table]:
    """For each run with rollouts: the share of negative advantages by reward shape that each of RIVALS would give its groups."""
    found = []
    for run in runs:
        if not run.rollouts:
            continue
        try:
            groups = compare_on_groups(read_saved(run.path), RIVALS)
        except DataError:
            continue  # the notes of the group browser name the file
        if groups:
            found.append(
                replace(negative_table(groups), title=run.name if len(runs) > 1 else "Negative advantages by shape, %")
            )
    return found


def heading(runs: Sequence[RunData]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs"
    words = dict(run_words(runs[0]))
    return " · ".join(words[label] for label in ("model", "estimator", "data") if label in words) or runs[0].name


def cases_link(run: RunData, folder: Path) -> str:
    """The path of a run's page of cases from `folder`, "" where there is none."""
    cases = run.path / CASES
    return Path(os.path.relpath(cases, folder)).as_posix() if cases.is_file() else ""


def run_parts(run: RunData, folder: Path, single: bool) -> dict[str, Any]:
    """What the template shows of one run."""
    config = run.path / CONFIG
    return {
        "name": run.name,
        "path": str(run.path),
        "cases": quote(cases_link(run, folder)),
        "words": run_words(run),
        "facts": facts(run) if single else [],
        "tables": tables(run),
        "config": config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        "environment": environment_words(run),
    }


def tables(run: RunData) -> list[Table]:
    answers = before_and_after(run)
    return evaluation_tables(answers) if answers else []


def environment_words(run: RunData) -> list[tuple[str, str]]:
    found = run.environment
    hardware = found.get("hardware") or {}
    pairs = [
        ("git", found.get("git")),
        ("python", found.get("python")),
        ("platform", found.get("platform")),
        ("processor", hardware.get("processor")),
        ("instructions", hardware.get("instructions")),
        ("cores", hardware.get("cores")),
        ("threads", found.get("threads")),
        ("device", found.get("device")),
        *(found.get("packages") or {}).items(),
    ]
    return [(label, str(value)) for label, value in pairs if value not in (None, "", [])]
