import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.reports.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Point,
    Series,
    area_chart,
    line_chart,
    nice_ticks,
    tick_text,
)


def test_ticks_are_round_and_cover_the_values():
    # a quarter of 0.37 is 0.0925, the next round step 0.1; values from 0.12 to 0.49
    assert nice_ticks(0.12, 0.49) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert nice_ticks(1, 80) == pytest.approx([0, 20, 40, 60, 80])
    # a share that is always 0 is drawn at the bottom
    assert nice_ticks(0, 0)[0] == 0


@given(*[st.floats(-1e6, 1e6)] * 2)
def test_ticks_cover_any_values_and_are_few(first, second):
    low, high = sorted((first, second))
    ticks = nice_ticks(low, high)
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + step * 1e-6
    assert ticks[-1] >= high - step * 1e-6
    assert 2 <= len(ticks) <= 8


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ([0, 0.25, 0.5], ["0.00", "0.25", "0.50"]),
        ([0, 0.1, 0.2], ["0.0", "0.1", "0.2"]),
        ([0, 20, 40], ["0", "20", "40"]),
        ([0, 2.5, 5], ["0.0", "2.5", "5.0"]),
        ([0, 2e5], ["0.0e+00", "2.0e+05"]),
    ],
)
def test_tick_texts_have_as_many_digits_as_they_need(ticks, texts):
    assert [tick_text(value, ticks) for value in ticks] == texts


def test_a_line_goes_from_corner_to_corner():
    chart = line_chart("t", [Series("run", (Point(0, 0.0), Point(10, 1.0)))])
    assert chart.lines[0].path == f"M{LEFT}.0,{HEIGHT - BOTTOM}.0L{WIDTH - RIGHT}.0,{TOP}.0"
    assert chart.lines[0].band == ""
    assert [tick.text for tick in chart.x_ticks] == ["0", "5", "10"]
    assert not chart.named


def test_points_are_drawn_in_the_order_of_steps_and_say_what_they_are():
    chart = line_chart("t", [Series("a", (Point(2, 0.5, 0.25, 0.75), Point(1, 0.5, 0.4, 0.6))), Series("b", (Point(1, 0.1),))])
    assert [mark.text for mark in chart.lines[0].marks] == ["a, step 1: 0.5 [0.4, 0.6]", "a, step 2: 0.5 [0.25, 0.75]"]
    assert chart.lines[0].band.endswith("Z")
    assert chart.named


def test_one_point_and_no_point():
    chart = line_chart("t", [Series("run", (Point(0, 0.3),)), Series("empty", ())])
    assert len(chart.lines) == 1
    assert [tick.text for tick in chart.x_ticks] == ["0"]
    assert line_chart("t", [Series("empty", ())]) is None


def test_shares_are_stacked_up_to_the_top():
    chart = area_chart("t", {"low": [(1, 0.25), (2, 0.5)], "high": [(1, 0.75), (2, 0.5), (3, 1.0)]})
    # only steps 1 and 2 have both; half way up at step 2 on the right
    middle = (HEIGHT - BOTTOM + TOP) / 2
    assert f"{WIDTH - RIGHT}.0,{middle}" in chart.areas[0].path
    assert f"{LEFT}.0,{TOP}.0L{WIDTH - RIGHT}.0,{TOP}.0" in chart.areas[1].path
    assert chart.areas[0].text == "low: 25% at step 1, 50% at step 2"
    assert area_chart("t", {"low": [], "high": [(1, 1.0)]}) is None


def test_shares_of_one_step_fill_the_picture():
    chart = area_chart("t", {"all": [(4, 1.0)]})
    assert chart.areas[0].path.startswith(f"M{LEFT}.0,{TOP}.0L{WIDTH - RIGHT}.0,{TOP}.0")
    assert not math.isnan(chart.x_ticks[0].at)
