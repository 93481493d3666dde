"""A study in words and tables: verdicts, what each setting reached, and the paper's numbers beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gapo_cli.lab.paired_jobs import Compared, Findings, StudyJob
from gapo_cli.reports.tables import NOTHING, Table
from gapo_cli.runs.study_definition import StudyDefinition
from gapo_cli.statistics.intervals import Measure

MEASURE_NAMES = {"greedy_final": "greedy exact match", "sampled_final": "sampled exact match"}
METHOD = (
    "Held-out exact match of each run's last evaluation, paired by seed. Verdicts come from the paired t test and two one-sided tests, "
    "both after Holm's correction over the comparisons of one measure; the sign-flip p assumes no distribution, and n seeds cannot "
    "give one below 2 / 2^n. Intervals are at 95 %."
)


def verdict_lines(definition: StudyDefinition, findings: Findings) -> list[str]:
    """One sentence a comparison in the measure that decides, with the pairs that are left out."""
    lines = []
    for one in findings.compared:
        if one.measure == definition.measure:
            lines.append(f"{one.setting} against {one.other}, {MEASURE_NAMES[one.measure]}: {one.verdict.sentence}")
            if one.left_out:
                lines[-1] += (
                    f"; {len(one.left_out)} {'pair is' if len(one.left_out) == 1 else 'pairs are'} not counted: "
                    + "; ".join(one.left_out)
                )
    return lines


def settings_table(findings: Findings) -> Table:
    rows = tuple(
        (
            one.name,
            f"{one.runs}/{one.runs + one.failed}",
            spread(one.mean, one.std),
            interval(one.final, 100),
            share(one.clip_fraction, 3),
            share(one.zero, 1),
            NOTHING if math.isnan(one.tokens) else f"{one.tokens / 1e6:.2f}",
            NOTHING if math.isnan(one.seconds) else f"{one.seconds:.0f}",
        )
        for one in findings.sides
    )
    return Table(
        "Settings",
        ("setting", "runs", "exact match, %", "interquartile mean", "clip fraction, %", "advantages that are 0, %", "computed tokens, millions", "seconds"),
        rows,
        "Mean ± standard deviation over seeds; interquartile mean with a stratified bootstrap over seeds. Computed tokens: each "
        "counts once where it is sampled, read, compared or valued, three times where it is learnt from; evaluations are not counted.",
    )  # fmt: skip


def comparisons_table(compared: Sequence[Compared], measure: str) -> Table:
    rows = []
    for one in compared:
        if one.measure != measure:
            continue
        found, verdict = one.verdict.difference, one.verdict
        seen = Measure(found.mean, found.low, found.high)
        rows.append((
            f"{one.setting} - {one.other}",
            verdict.word,
            str(found.seeds),
            interval(seen, sign="+"),
            interval(one.tasks, sign="+"),
            p_text(verdict.p),
            p_text(found.flip_p),
            p_text(verdict.equal_p),
            interval(one.improvement, digits=2),
            NOTHING if verdict.more_seeds is None else str(verdict.more_seeds),
            NOTHING if verdict.seeds_for_delta is None else str(verdict.seeds_for_delta),
        ))  # fmt: skip
    columns = (
        "comparison", "verdict", "seeds", "points, t interval", "points, seeds and tasks", "p (Holm)", "p sign flips", "p equal (Holm)",
        "P(better)", "more seeds", "seeds for delta",
    )  # fmt: skip
    return Table(f"Comparisons: {MEASURE_NAMES[measure]}", columns, tuple(rows))


def paper_tables(definition: StudyDefinition) -> list[Table]:
    return [Table(one.title, one.columns, tuple(map(tuple, as_printed(one.rows))), one.note) for one in definition.paper]


def as_printed(rows: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Cells as texts; numbers with as many decimals as the longest of them has, as the paper prints them."""
    numbers = [cell for row in rows for cell in row if isinstance(cell, float)]
    decimals = max((len(repr(number).partition(".")[2]) for number in numbers), default=0)
    return [
        [NOTHING if cell is None else f"{cell:.{decimals}f}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in rows
    ]


def study_tables(definition: StudyDefinition, findings: Findings) -> list[Table]:
    measures = dict.fromkeys(one.measure for one in findings.compared)
    return [
        settings_table(findings),
        *(comparisons_table(findings.compared, measure) for measure in measures),
        *paper_tables(definition),
    ]


def study_markdown(definition: StudyDefinition, jobs: Sequence[StudyJob], findings: Findings) -> str:
    failed = [job.record for job in jobs if job.record.error is not None]
    parts = [
        f"# Study {definition.name}" + (f", scale {definition.scale}" if definition.scale else "") + "\n",
        f"{definition.about}\n",
    ]
    parts += [f"- {line}\n" for line in verdict_lines(definition, findings)]
    parts += [f"- {warning}\n" for warning in findings.warnings]
    parts += [f"- job {one.number} ({one.setting} seed={one.seed}) failed: {one.error}\n" for one in failed]
    parts += [
        f"{METHOD} delta = {100 * definition.delta:g} points.\n",
        *(one.to_markdown() for one in study_tables(definition, findings)),
    ]
    return "\n".join(parts)


def spread(mean: float, std: float) -> str:
    if math.isnan(mean):
        return NOTHING
    return f"{100 * mean:.2f}" + ("" if math.isnan(std) else f" ± {100 * std:.2f}")


def interval(measure: Measure, scale: float = 1, sign: str = "", digits: int = 2) -> str:
    if measure.value is None:
        return NOTHING
    text = f"{scale * measure.value:{sign}.{digits}f}"
    if measure.low is None or measure.high is None:
        return text
    return f"{text} [{scale * measure.low:{sign}.{digits}f}, {scale * measure.high:{sign}.{digits}f}]"


def share(value: float, digits: int) -> str:
    return NOTHING if math.isnan(value) else f"{100 * value:.{digits}f}"


def p_text(value: float | None) -> str:
    return NOTHING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
