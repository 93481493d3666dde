"""A study's page: verdicts first, then learning curves with bands over seeds, and the tables. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence

from gapo_cli.lab.paired_jobs import Findings, StudyJob
from gapo_cli.metric_names import CLIPPED, GREEDY_EXACT, MEAN_SCORE, SAMPLED_EXACT, ZERO_SPREAD
from gapo_cli.reports.charts import HEIGHT, LEFT, RIGHT, WIDTH, Chart, Point, Series, line_chart
from gapo_cli.reports.study_tables import METHOD, study_tables, verdict_lines
from gapo_cli.reports.templates import filled
from gapo_cli.runs.study_definition import StudyDefinition
from gapo_cli.statistics.seed_differences import seed_difference

TEMPLATE = "study.html.j2"
CURVES = {
    "Held-out exact match, greedy": GREEDY_EXACT,
    "Held-out exact match, sampled": SAMPLED_EXACT,
    "Reward": MEAN_SCORE,
    "Clip fraction": CLIPPED,
    "Groups without spread": ZERO_SPREAD,
}


def render_study(definition: StudyDefinition, jobs: Sequence[StudyJob], findings: Findings) -> str:
    return filled(
        TEMPLATE,
        title=f"study {definition.name}" + (f", scale {definition.scale}" if definition.scale else ""),
        about=definition.about,
        verdicts=verdict_lines(definition, findings),
        warnings=findings.warnings,
        failed=[job.record for job in jobs if job.record.error is not None],
        charts=[chart for title, key in CURVES.items() if (chart := curve_chart(jobs, title, key)) is not None],
        method=f"{METHOD} delta = {100 * definition.delta:g} points.",
        tables=study_tables(definition, findings),
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT},
    )


def curve_chart(jobs: Sequence[StudyJob], title: str, key: str) -> Chart | None:
    """The mean over seeds of each setting with its 95 % t interval, at the steps that all of its finished jobs have."""
    done = [job.record for job in jobs if job.record.error is None]
    series = []
    for colour, setting in enumerate(dict.fromkeys(job.setting for job in done)):
        curves = [dict(job.curve(key)) for job in done if job.setting == setting]
        points = []
        for step in sorted(set.intersection(*map(set, curves))):
            found = seed_difference([curve[step] for curve in curves])
            if found.mean is not None:
                points.append(Point(step, found.mean, found.low, found.high))
        series.append(Series(setting, tuple(points), colour))
    return line_chart(title, series, "mean over seeds; band: 95 % t interval")
