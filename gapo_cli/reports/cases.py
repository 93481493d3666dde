"""One self-contained HTML page of an evaluation's cases: what was done before, what was to be done, what was answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapo_cli.evaluation.predictions import Prediction
from gapo_cli.records import EditTask, HistoryEvent
from gapo_cli.reports.diffs import SAME, diff_segments
from gapo_cli.reports.groups import LINES_AFTER, LINES_BEFORE, middle_left_out
from gapo_cli.reports.templates import filled, unescaped
from gapo_cli.storage.files import write_text

TEMPLATE, SCRIPT = "cases.html.j2", "cases.js"
OUTCOMES = ("right", "wrong", "no-op", "malformed")
"""right: the target, as exact match has it; no-op: the region as it stood, where that is wrong; malformed: no region."""
BYTES_FOR_CASES = 3_000_000
MOST_EVENTS = 8
LONGEST_DIFF = 4_000
LONGEST_ANSWER = 6_000
"""Characters that are shown of a text: its two ends."""
DIFF_LINES: Mapping[str, str] = {"+": "ins", "-": "del"}


def write_cases(
    tasks: Sequence[EditTask], predictions: Sequence[Prediction], title: str, output: Path, limit: int = BYTES_FOR_CASES
) -> Path:
    """Writes the page to `output`: each task's greedy answer, or its first sampled one where there is none. Cases beyond
    `limit` bytes are left out, evenly over the outcomes, and counted on the page."""

    cases = shown_cases(tasks, predictions)
    chosen = within_limit(cases, limit)
    page = filled(
        TEMPLATE,
        title=title,
        script=unescaped(SCRIPT),
        cases=chosen,
        left_out=len(cases) - len(chosen),
        counts={outcome: sum(case["outcome"] == outcome for case in cases) for outcome in OUTCOMES},
        families=sorted({case["family"] for case in chosen} - {""}),
        languages=sorted({case["language"] for case in chosen}),
        reasons=sorted({case["malformed"] for case in chosen if case["malformed"]}),
        sampled=any(case["sampled"] for case in chosen),
    )
    write_text(output, page)
    return output


def shown_cases(tasks: Sequence[EditTask], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """What the page shows of each task that was answered, in the tasks' order."""
    answers: dict[str, Prediction] = {}
    for one in sorted(predictions, key=lambda one: (one.mode != "greedy", one.sample)):
        answers.setdefault(one.task_id, one)
    return [case_of(task, answers[task.id]) for task in tasks if task.id in answers]


def outcome_of(answer: Prediction) -> str:
    if answer.region is None:
        return "malformed"
    if answer.is_right:
        return "right"
    return "no-op" if answer.is_noop else "wrong"


def case_of(task: EditTask, answer: Prediction) -> dict[str, Any]:
    return {
        "id": task.id,
        "path": task.path,
        "language": answer.language,
        "family": answer.family,
        "outcome": outcome_of(answer),
        "sampled": answer.mode == "sampled",
        "malformed": answer.malformed,
        "cut": answer.cut,
        "instruction": task.instruction or "",
        "history": [event_of(event) for event in task.history[-MOST_EVENTS:]],
        "earlier": max(0, len(task.history) - MOST_EVENTS),
        "above": "\n".join(task.before.split("\n")[-LINES_BEFORE - 1 :]),
        "below": "\n".join(task.after.split("\n")[:LINES_AFTER]),
        "target": shown_diff(task.region, task.target),
        "answer": None if answer.region is None else shown_diff(task.region, answer.region),
        "error": None if answer.region is None else shown_diff(task.target, answer.region),
        "text": middle_left_out(answer.text, LONGEST_ANSWER),
    }


def event_of(event: HistoryEvent) -> dict[str, Any]:
    words = {"edit": event.path, "open": f"opened {event.path}", "rename": f"renamed {event.old_path} to {event.path}"}
    lines = middle_left_out(event.diff, LONGEST_DIFF).removesuffix("\n").split("\n") if event.diff else []
    return {"words": words[event.kind], "lines": [(DIFF_LINES.get(line[:1], ""), line) for line in lines]}


def shown_diff(old: str, new: str) -> list[tuple[int, str]]:
    """Segments of a diff; white space that changed is made visible."""
    return [(kind, text if kind == SAME else visible(text)) for kind, text in diff_segments(old, new)]


def visible(text: str) -> str:
    shown = text.replace("\n", "↵\n").replace("\t", "→\t")
    return shown if text.strip() else shown.replace(" ", "·")


def within_limit(cases: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """As many cases as fit, the outcomes taking turns, in their own order."""
    from markupsafe import escape

    places = {outcome: [place for place, case in enumerate(cases) if case["outcome"] == outcome] for outcome in OUTCOMES}
    turns = max(map(len, places.values()), default=0)
    chosen, used = [], 0
    for place in (found[turn] for turn in range(turns) for found in places.values() if turn < len(found)):
        # as JSON with every quote escaped it is longer than the markup will be
        size = len(escape(json.dumps(cases[place])))
        if used + size <= limit:
            chosen.append(place)
            used += size
    return [cases[place] for place in sorted(chosen)]
