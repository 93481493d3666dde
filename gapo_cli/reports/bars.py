"""Bars beside each other as geometry for inline SVG: a cluster for each category, a bar for each series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gapo_cli.reports.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, Tick

GAP = 0.25
"""Of a cluster's width, left free beside it."""


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    colour: int
    text: str


@dataclass(frozen=True)
class BarChart:
    """`legend`: the series in the order of their colours; `labels`: the categories below."""

    title: str
    note: str
    bars: tuple[Bar, ...]
    labels: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    legend: tuple[str, ...]


def bar_chart(
    title: str, shares: Mapping[str, Mapping[str, float]], categories: Sequence[str], note: str = ""
) -> BarChart | None:
    """Series → category → share in [0, 1]; a category that a series lacks has no bar. None without series or categories."""
    if not shares or not categories:
        return None
    y = Scale(0, 1, HEIGHT - BOTTOM, TOP)
    cluster = (WIDTH - LEFT - RIGHT) / len(categories)
    width = cluster * (1 - GAP) / len(shares)
    bars, labels = [], []
    for place, category in enumerate(categories):
        start = LEFT + cluster * (place + GAP / 2)
        labels.append(Tick(start + cluster * (1 - GAP) / 2, category))
        for colour, (name, values) in enumerate(shares.items()):
            if category in values:
                top = y(values[category])
                text = f"{name}, {category}: {values[category]:.1%}"
                bars.append(Bar(start + width * colour, top, width * 0.92, HEIGHT - BOTTOM - top, colour, text))
    y_ticks = tuple(Tick(y(value), f"{value:.0%}") for value in (0, 0.25, 0.5, 0.75, 1))
    return BarChart(title, note, tuple(bars), tuple(labels), y_ticks, tuple(shares))
