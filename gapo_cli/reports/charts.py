"""Learning curves as geometry for inline SVG: ticks, paths and bands in the coordinates of one small picture.

The template draws them with the page's own colours, so that they follow light and dark; nothing is fetched or run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 380, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 26
STEP = "step"
NICE_STEPS = (1, 2, 2.5, 5, 10)
TARGET_TICKS = 4
SMALLEST = 1e-9
"""Values nearer to 0, or to each other beside their size, are drawn as equal."""


@dataclass(frozen=True)
class Point:
    """One measured value; `low` and `high` are its interval where it has one."""

    step: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """`colour`: which of the page's series colours; `dashed` sets sampled apart from greedy; not `joined`: points without a line."""

    name: str
    points: tuple[Point, ...]
    colour: int = 0
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Mark:
    """A point as drawn, with the text that shows under the pointer."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    name: str
    colour: int
    dashed: bool
    path: str
    band: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Area:
    name: str
    path: str
    text: str


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """`lines` over each other or `areas` stacked; `note` says what is drawn."""

    title: str
    note: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    areas: tuple[Area, ...] = ()

    @property
    def named(self) -> bool:
        """More than one line, so they need names."""
        return len(self.lines) > 1


@dataclass(frozen=True)
class Scale:
    """Values of [low, high] onto [start, end]; a range without width is put in the middle."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers that cover [low, high]: the first is `low` or less, the last `high` or more."""
    size = max(abs(low), abs(high))
    if size < SMALLEST:
        low, high = 0.0, 1.0
    elif high - low < size * SMALLEST:
        low, high = low - size / 2, high + size / 2
    rough = (high - low) / TARGET_TICKS
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(nice * magnitude for nice in NICE_STEPS if nice * magnitude >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """As few digits as tell the ticks apart."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    if max(map(abs, ticks)) >= 1e5 or step < 1e-5:
        return f"{value:.1e}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    # 0.25 needs one digit more than 0.1
    if abs(round(step, digits) - step) > step * 1e-6:
        digits += 1
    return f"{value + 0.0:.{digits}f}"


def line_chart(title: str, series: Sequence[Series], note: str = "", from_zero: bool = False, over: str = STEP) -> Chart | None:
    """Lines over the steps, or over another quantity named `over`, with bands where the points have intervals. None where no
    series has a point."""
    series = [one for one in series if one.points]
    points = [point for one in series for point in one.points]
    if not points:
        return None
    values = [value for point in points for value in (point.value, point.low, point.high) if value is not None]
    ticks = nice_ticks(min([*values, *([0.0] if from_zero else [])]), max(values))
    places = [point.step for point in points]
    x, x_ticks = _step_axis(places) if over == STEP else _plain_axis(places)
    y = Scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    y_ticks = tuple(Tick(y(value), tick_text(value, ticks)) for value in ticks)
    return Chart(title, note, x_ticks, y_ticks, lines=tuple(_line(one, x, y, len(series) > 1, over) for one in series))


def area_chart(title: str, shares: Mapping[str, Sequence[tuple[float, float]]], note: str = "") -> Chart | None:
    """Shares that add up to 1, stacked in the order of the mapping, over the steps that all of them have."""
    steps = sorted(set.intersection(*(set(dict(points)) for points in shares.values()))) if shares else []
    if not steps:
        return None
    x, x_ticks = _step_axis(steps)
    y = Scale(0, 1, HEIGHT - BOTTOM, TOP)
    below = dict.fromkeys(steps, 0.0)
    areas = []
    for name, points in shares.items():
        values = dict(points)
        above = {step: below[step] + values[step] for step in steps}
        # one step alone would be a line without width
        places = [(x(step), step) for step in steps] if len(steps) > 1 else [(LEFT, steps[0]), (WIDTH - RIGHT, steps[0])]
        upper = [(place, y(above[step])) for place, step in places]
        lower = [(place, y(below[step])) for place, step in reversed(places)]
        text = f"{name}: {values[steps[0]]:.0%} at step {steps[0]:g}, {values[steps[-1]]:.0%} at step {steps[-1]:g}"
        areas.append(Area(name, f"{_path([*upper, *lower])}Z", text))
        below = above
    y_ticks = tuple(Tick(y(value), f"{value:.0%}") for value in (0, 0.25, 0.5, 0.75, 1))
    return Chart(title, note, x_ticks, y_ticks, areas=tuple(areas))


def _step_axis(steps: Iterable[float]) -> tuple[Scale, tuple[Tick, ...]]:
    """Steps from the first to the last, with ticks at whole numbers inside."""
    first, last = min(steps := list(steps)), max(steps)
    x = Scale(first, last, LEFT, WIDTH - RIGHT)
    inside = [value for value in nice_ticks(first, last) if first <= value <= last and value == int(value)]
    return x, tuple(Tick(x(value), f"{value:.0f}") for value in (inside if len(inside) > 1 else sorted({first, last})))


def _plain_axis(values: Sequence[float]) -> tuple[Scale, tuple[Tick, ...]]:
    """Numbers that need not be whole, from the first to the last."""
    first, last = min(values), max(values)
    x = Scale(first, last, LEFT, WIDTH - RIGHT)
    ticks = nice_ticks(first, last)
    inside = [value for value in ticks if first - SMALLEST <= value <= last + SMALLEST]
    return x, tuple(Tick(x(value), tick_text(value, ticks)) for value in inside)


def _line(series: Series, x: Scale, y: Scale, named: bool, over: str) -> Line:
    points = sorted(series.points, key=lambda point: point.step)
    bounded = [(point.step, point.low, point.high) for point in points if point.low is not None and point.high is not None]
    upper = [(x(step), y(high)) for step, _, high in bounded]
    lower = [(x(step), y(low)) for step, low, _ in reversed(bounded)]
    return Line(
        name=series.name,
        colour=series.colour,
        dashed=series.dashed,
        path=_path([(x(point.step), y(point.value)) for point in points]) if series.joined else "",
        band=f"{_path([*upper, *lower])}Z" if len(bounded) > 1 else "",
        marks=tuple(
            Mark(round(x(point.step), 1), round(y(point.value), 1), _mark_text(series, point, named, over)) for point in points
        ),
    )


def _mark_text(series: Series, point: Point, named: bool, over: str) -> str:
    interval = "" if point.low is None or point.high is None else f" [{point.low:.4g}, {point.high:.4g}]"
    return f"{f'{series.name}, ' if named else ''}{over} {point.step:g}: {point.value:.4g}{interval}"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px:.1f},{py:.1f}" for px, py in points)
