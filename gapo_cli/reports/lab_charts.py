"""What the laboratory's page draws: agreement, shares, the advantage as a function of the reward, corruption."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gapo_cli.lab.comparison import Cell, Findings
from gapo_cli.lab.laboratory import PoolResult, SourceResult
from gapo_cli.lab.replay import Variant, main_variants, reward_curve
from gapo_cli.lab.saved_rewards import SavedRewards
from gapo_cli.quantities import decimals
from gapo_cli.reports.bars import BarChart, bar_chart
from gapo_cli.reports.charts import Chart, Point, Series, area_chart, line_chart
from gapo_cli.reports.lab_tables import SHAPE_NAMES, middle_size, overall
from gapo_cli.statistics.reward_shapes import SHAPES, group_shapes

GROUP_OF_CURVES = 8


def pool_charts(pool: PoolResult) -> list[Chart]:
    charts = [tau_chart(pool), size_chart(pool), *corruption_charts(pool)]
    return [chart for chart in charts if chart is not None]


def tau_chart(pool: PoolResult) -> Chart | None:
    """Agreement against tau; an estimator without tau is a level line."""
    size = middle_size(pool)
    found = [one for one in overall(pool) if one.cell.corruption is None and one.cell.group_size == size]
    taus = sorted({value for one in found for key, value in one.cell.variant.varied if key == "tau"})
    if len(taus) < 2:
        return None
    series = []
    for colour, family in enumerate(dict.fromkeys(one.cell.variant.family for one in found)):
        own = [one for one in found if one.cell.variant.family == family]
        values = {dict(one.cell.variant.varied).get("tau"): one for one in own}
        points = [point(tau, values.get(tau, values.get(None))) for tau in taus if tau in values or None in values]
        series.append(Series(family, tuple(points), colour, dashed=None in values))
    return line_chart("Agreement against tau", series, f"G = {size}; dashed: has no tau", over="tau")


def size_chart(pool: PoolResult) -> Chart | None:
    sizes = sorted({cell.group_size for cell in pool.cells})
    if len(sizes) < 2:
        return None
    return _chart_over(
        pool, lambda cell: cell.corruption is None, lambda cell: cell.group_size, "Agreement against group size", "", "G"
    )


def corruption_charts(pool: PoolResult) -> list[Chart | None]:
    size = middle_size(pool)
    kinds = list(dict.fromkeys(cell.corruption.kind for cell in pool.cells if cell.corruption))
    return [
        _chart_over(
            pool,
            lambda cell, kind=kind: cell.group_size == size and (cell.corruption is None or cell.corruption.kind == kind),
            lambda cell: cell.noise,
            f"Agreement under corruption ({kind})",
            f"share of rewards that are replaced; G = {size}",
            "share",
        )
        for kind in kinds
    ]


def _chart_over(
    pool: PoolResult, chosen: Callable[[Cell], bool], place: Callable[[Cell], float], title: str, note: str, over: str
) -> Chart | None:
    found = [one for one in overall(pool) if chosen(one.cell)]
    variants = main_variants([one.cell.variant for one in found])
    series = [
        Series(variant.name, tuple(point(place(one.cell), one) for one in found if one.cell.variant == variant), colour)
        for colour, variant in enumerate(variants)
    ]
    return line_chart(title, series, note, over=over)


def point(place: float, one: Findings) -> Point:
    found = one.measures["agreement"]
    return Point(place, found.value if found.value is not None else 0.0, found.low, found.high)


def share_charts(source: SourceResult, variants: Sequence[Variant]) -> list[BarChart]:
    """Zero and negative shares by reward shape: of drawn groups by their pool's shape, or of saved groups by their own."""
    names = [variant.name for variant in main_variants(variants)]
    shapes = [shape for shape in SHAPES if shape != "zero"]
    if source.pool is not None:
        size = middle_size(source.pool)
        found = [
            one for one in source.pool.findings
            if one.part in shapes and one.cell.corruption is None and one.cell.group_size == size
        ]  # fmt: skip

        def of(measure: str) -> dict[str, dict[str, float]]:
            return {
                name: {
                    SHAPE_NAMES[one.part]: one.measures[measure].value or 0.0 for one in found if one.cell.variant.name == name
                }
                for name in names
            }

        zero, negative, note = of("zero"), of("negative"), f"by the shape of the prompt's pool; G = {size}"
    else:
        groups = [one for one in source.groups if one.variant in names]
        zero, negative = (
            {one.variant: {SHAPE_NAMES[shape]: share for shape, share in getattr(one, key).items()} for one in groups}
            for key in ("zero_by_shape", "negative_by_shape")
        )
        note = "by the shape of the group"
    there = [SHAPE_NAMES[shape] for shape in shapes if any(SHAPE_NAMES[shape] in own for own in zero.values())]
    charts = [bar_chart("Advantages that are 0", zero, there, note), bar_chart("Negative advantages", negative, there, note)]
    return [chart for chart in charts if chart is not None]


def advantage_curves(saved: SavedRewards, variants: Sequence[Variant]) -> list[Chart]:
    """For a typical group of each shape: the advantage of one answer as its reward goes from 0 to 1, the others staying."""
    shapes = group_shapes(saved.rewards)
    charts = []
    for shape in SHAPES:
        rows = np.flatnonzero(shapes == shape)
        if shape == "zero" or not len(rows):
            continue
        deviations = np.nanstd(saved.rewards[rows], axis=1)
        typical = saved.rewards[rows[np.argsort(deviations)[len(rows) // 2]]]
        others = np.quantile(
            typical[~np.isnan(typical)], (np.arange(GROUP_OF_CURVES - 1) + 0.5) / (GROUP_OF_CURVES - 1), method="nearest"
        )
        series = []
        for colour, variant in enumerate(main_variants(variants)):
            rewards, values = reward_curve(variant, others)
            series.append(Series(variant.name, tuple(map(Point, rewards.tolist(), values.tolist())), colour))
        words = ", ".join(decimals(value, 2) for value in others)
        chart = line_chart(f"Advantage by reward, {SHAPE_NAMES[shape]}", series, f"the other rewards: {words}", over="reward")
        charts += [chart] if chart else []
    return charts


def shapes_chart(source: SourceResult) -> Chart | None:
    """The shapes over the steps; None where there is only one step."""
    if len(source.shapes) < 2:
        return None
    shares = {
        SHAPE_NAMES[name]: [(float(one.step), one.shares[name]) for one in source.shapes if one.shares] for name in SHAPES
    }
    return area_chart("Shares of the groups", shares)
