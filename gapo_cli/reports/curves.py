"""Which learning curves a report draws, and from which metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gapo_cli.evaluation.predictions import MODES, Mode
from gapo_cli.metric_names import (
    CLIPPED,
    COMPUTED,
    ENTROPY,
    EXPLAINED,
    GRADIENT_NORM,
    KL_LOSS,
    LEFT,
    MEAN_LENGTH,
    MEAN_SCORE,
    NO_SHAPE,
    NORMAL,
    PREFERENCE_ACCURACY,
    PREFERENCE_CHOSEN,
    PREFERENCE_LOSS,
    PREFERENCE_MARGIN,
    PREFERENCE_REJECTED,
    REWARD_KL,
    RIGHT,
    STEP_SECONDS,
    SUPERVISED_LOSS,
    SYMMETRIC,
    VALUE_CLIPPED,
    VALUE_LOSS,
    ZERO_SPREAD,
    find,
)
from gapo_cli.reports.charts import Chart, Point, Series, area_chart, line_chart
from gapo_cli.runs.run_data import RunData

SHAPE_METRICS = {
    "normal": NORMAL,
    "left-skewed": LEFT,
    "right-skewed": RIGHT,
    "symmetric": SYMMETRIC,
    "no spread": ZERO_SPREAD,
}


@dataclass(frozen=True)
class Curve:
    """A chart of one metric, the same for every run, under the metric's own title."""

    key: str
    note: str
    from_zero: bool = False

    @property
    def title(self) -> str:
        return find(self.key).title


CURVES = (
    Curve(MEAN_SCORE, "mean score of the training batch"),
    Curve(CLIPPED, "share of the tokens whose ratio was clipped", from_zero=True),
    Curve(ENTROPY, "of the policy, nats a token", from_zero=True),
    Curve(GRADIENT_NORM, "before clipping", from_zero=True),
    Curve(COMPUTED, "share of the answer tokens that a pass was made for", from_zero=True),
    Curve(MEAN_LENGTH, "tokens, mean"),
    Curve(ZERO_SPREAD, "share of the groups in which all rewards are equal", from_zero=True),
    Curve(KL_LOSS, "low-variance estimate", from_zero=True),
    Curve(VALUE_LOSS, "half the squared error, clipped", from_zero=True),
    Curve(EXPLAINED, "of the returns, by the critic's values: 1 is all of it, 0 none"),
    Curve(VALUE_CLIPPED, "share of the tokens whose value was held back", from_zero=True),
    Curve(REWARD_KL, "log-probability above the starting model's, nats a token"),
    Curve(SUPERVISED_LOSS, "cross-entropy of the answers, nats a token"),
    Curve(PREFERENCE_LOSS, "mean over the pairs of the batch"),
    Curve(PREFERENCE_ACCURACY, "share of the pairs whose reward margin is above 0", from_zero=True),
    Curve(PREFERENCE_MARGIN, "what better answers gained on worse ones, times beta, nats"),
    Curve(PREFERENCE_CHOSEN, "log-probability, nats an answer"),
    Curve(PREFERENCE_REJECTED, "log-probability, nats an answer"),
    Curve(STEP_SECONDS, "seconds", from_zero=True),
)


def learning_curves(runs: Sequence[RunData]) -> list[Chart]:
    """Held-out exact match first, then every curve that some run has the numbers for."""
    # an evaluation alone is one point, not a curve
    charts = [*_exact_match(runs)] if any(run.metrics or len(run.evaluations) > 1 for run in runs) else []
    for curve in CURVES:
        series = [
            Series(run.name, tuple(Point(step, value) for step, value in run.curve(curve.key)), colour)
            for colour, run in enumerate(runs)
        ]
        charts.append(line_chart(curve.title, series, curve.note, curve.from_zero))
    return [chart for chart in charts if chart is not None]


def _exact_match(runs: Sequence[RunData]) -> list[Chart | None]:
    """One chart for both modes of one run; with several runs one chart a mode."""
    note = "stripped, with 95 % intervals"
    if len(runs) == 1:
        both = [_exact_match_series(runs[0], mode, 0, mode) for mode in MODES]
        return [line_chart("Exact match on held-out tasks", both, note)]
    return [
        line_chart(
            f"Held-out exact match, {mode}",
            [_exact_match_series(run, mode, colour, run.name) for colour, run in enumerate(runs)],
            note,
        )
        for mode in MODES
    ]


def _exact_match_series(run: RunData, mode: Mode, colour: int, name: str) -> Series:
    points = tuple(
        Point(step, measure.value, measure.low, measure.high)
        for step, measure in run.exact_match(mode)
        if measure.value is not None
    )
    return Series(name, points, colour, dashed=mode == "sampled" and name == mode)


def shape_chart(run: RunData, title: str) -> Chart | None:
    """The shares of the reward shapes over the steps of one run."""
    shares = {name: run.curve(key) for name, key in SHAPE_METRICS.items()}
    unknown = sum(count for _, count in run.curve(NO_SHAPE))
    return area_chart(title, shares, f"{unknown:.0f} groups with fewer than two rewards are left out" if unknown else "")
