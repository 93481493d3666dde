"""The groups that a report shows: a few steps of a run, and of each step groups of every reward shape."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gapo_cli.errors import DataError, first_line
from gapo_cli.reports.diffs import diff_segments
from gapo_cli.runs.group_files import GroupFile
from gapo_cli.runs.run_data import RunData
from gapo_cli.statistics.reward_shapes import SHAPES, UNKNOWN, group_shapes

BYTES_FOR_GROUPS = 3_000_000
"""Of the page, for all runs together."""
MOST_STEPS = 6
LONGEST_PROMPT = 6_000
"""Characters of a prompt that are shown: its two ends."""
LINES_BEFORE, LINES_AFTER = 12, 6
"""Lines of code shown around the region."""
COLUMNS = [
    "group", "completion", "task_id", "family", "language", "path", "prompt", "before", "region_before", "after", "target",
    "text", "region", "malformed", "finish_reason", "length", "score", "reward", "advantage", "baseline", "low", "high",
    "dropped",
]  # fmt: skip


def shown_steps(steps: Sequence[int], most: int = MOST_STEPS) -> list[int]:
    """First, last, and evenly between."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]


def browse(runs: Sequence[RunData], notes: list[str], limit: int = BYTES_FOR_GROUPS) -> list[dict[str, Any]]:
    """JSON-ready: for each run its steps, for each step its groups. Every step of every run has the same share of
    `limit` bytes; groups beyond it are left out, evenly over the shapes, and counted. Files that cannot be read are
    added to `notes`."""
    most = MOST_STEPS if len(runs) <= 3 else 3
    steps = {run.name: shown_steps(list(run.rollouts), most) for run in runs}
    share = limit // max(1, sum(map(len, steps.values())))
    shown = []
    for run in runs:
        pages = [page for step in steps[run.name] if (page := _step(run, step, share, notes)) is not None]
        if pages:
            shown.append({"run": run.name, "steps": pages})
    return shown


def _step(run: RunData, step: int, share: int, notes: list[str]) -> dict[str, Any] | None:
    path = run.rollouts[step]
    try:
        with GroupFile(path) as file:
            names = [*COLUMNS, *file.components]
            frames = [file.columns(number, names).to_pandas() for number in range(file.row_groups)]
    except DataError as error:
        notes.append(f"{run.name}: {path.name} cannot be read ({first_line(error)}): its groups are left out")
        return None
    groups = [
        rows.sort_values("completion").to_dict("records") for frame in frames for _, rows in frame.groupby("group", sort=True)
    ]
    shapes = [str(group_shapes(np.array([[row["reward"] for row in rows]], dtype=np.float64))[0]) for rows in groups]
    chosen: dict[int, dict[str, Any]] = {}
    used = 0
    for place in evenly_over_shapes(shapes):
        one = _group(groups[place], shapes[place])
        size = len(json.dumps(one))
        if chosen and used + size > share:
            break
        chosen[place] = one
        used += size
    return {"step": step, "of": len(groups), "groups": [chosen[place] for place in sorted(chosen)]}


def evenly_over_shapes(shapes: Sequence[str]) -> list[int]:
    """The places of all groups, taking turns between the shapes."""
    rows = {shape: [place for place, found in enumerate(shapes) if found == shape] for shape in (*SHAPES, UNKNOWN)}
    turns = max(map(len, rows.values()), default=0)
    return [places[turn] for turn in range(turns) for places in rows.values() if turn < len(places)]


def _group(rows: Sequence[Mapping[str, Any]], shape: str) -> dict[str, Any]:
    first = rows[0]
    region, target = first["region_before"], first["target"]
    texts: list[dict[str, Any]] = []
    places: dict[tuple[str | None, str], int] = {}
    answers = []
    for row in rows:
        predicted = row["region"] if isinstance(row["region"], str) else None
        malformed = row["malformed"] if isinstance(row["malformed"], str) else None
        key = (predicted, "" if malformed is None else row["text"])
        if key not in places:
            places[key] = len(texts)
            texts.append(_answer_text(predicted if malformed is None else None, row["text"], region, target))
        answers.append({
            "text": places[key],
            "reward": _number(row["reward"]),
            "score": _number(row["score"]),
            "advantage": _number(row["advantage"]),
            "tokens": int(row["length"]),
            "malformed": malformed,
            "cut": row["finish_reason"] == "length",
            "components": {
                name.removeprefix("component_"): _number(value)
                for name, value in row.items()
                if str(name).startswith("component_") and name != "component_score"
            },
        })  # fmt: skip
    return {
        "task": first["task_id"],
        "family": first["family"],
        "language": first["language"],
        "path": first["path"],
        "prompt": middle_left_out(first["prompt"], LONGEST_PROMPT),
        "before": "".join(first["before"].splitlines(keepends=True)[-LINES_BEFORE:]),
        "after": "".join(first["after"].splitlines(keepends=True)[:LINES_AFTER]),
        "edit": diff_segments(region, target),
        "shape": shape,
        "dropped": bool(first["dropped"]),
        "q": _number(first["baseline"]),
        "low": _number(first["low"]),
        "high": _number(first["high"]),
        "answers": answers,
        "texts": texts,
    }


def _answer_text(predicted: str | None, raw: str, region: str, target: str) -> dict[str, Any]:
    if predicted is None:
        return {"raw": raw}
    return {
        "change": diff_segments(region, predicted),
        "error": diff_segments(target, predicted),
        "exact": predicted.strip() == target.strip(),
        "unchanged": predicted.strip() == region.strip(),
    }


def middle_left_out(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"


def _number(value: Any) -> float | None:
    """Four significant places of what is finite: the page shows no more."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None
