"""The laboratory's page computes what Python computes."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from gapo_cli.estimators.dr_grpo import DrGRPO
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.gapo_mean import GAPOMean
from gapo_cli.estimators.gapo_median_std import GAPOMedianStd
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.estimators.median import Median
from gapo_cli.estimators.quantile import Quantile
from gapo_cli.estimators.rloo import RLOO
from gapo_cli.reports.bars import bar_chart
from gapo_cli.reports.charts import Point, Series, line_chart
from gapo_cli.reports.templates import FOLDER

NODE = shutil.which("node")
ESTIMATORS = {
    "gapo": GAPO, "gapo_mean": GAPOMean, "gapo_median_std": GAPOMedianStd, "quantile": Quantile,
    "grpo": lambda _: GRPO(), "median": lambda _: Median(), "dr_grpo": lambda _: DrGRPO(), "rloo": lambda _: RLOO(),
}  # fmt: skip


@pytest.mark.skipif(NODE is None, reason="node is not installed: the page's script cannot be run here")
def test_the_script_gives_the_advantages_q_and_h_that_python_gives():
    generator = np.random.default_rng(0)
    # sixty-fourths make ties; 0.55 and 0.56 are what floats get wrong before a ceiling
    groups = [generator.integers(0, 65, size) / 64 for size in (1, 2, 3, 8, 20, 25, 128) for _ in range(4)]
    groups += [np.full(5, 0.3), generator.random(16)]
    cases = [
        {"name": name, "rewards": group.tolist(), "setting": setting}
        for name in ESTIMATORS
        for group in groups
        for setting in (0.05, 0.5, 0.55, 0.56, 1.0)
    ]
    code = (
        f"const page = require({json.dumps(str(FOLDER / 'lab_estimators.js'))});"
        "const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "console.log(JSON.stringify(cases.map((one) => page.advantages(one.name, one.rewards, one.setting))));"
    )
    ran = subprocess.run([NODE, "-e", code], input=json.dumps(cases), capture_output=True, text=True, check=True)
    for case, found in zip(cases, json.loads(ran.stdout), strict=True):
        expected = ESTIMATORS[case["name"]](case["setting"])(np.array([case["rewards"]]))
        assert found["values"] == pytest.approx(expected.values[0].tolist(), abs=1e-9, rel=1e-9), case
        assert found["baseline"] == pytest.approx(expected.baseline[0])
        for end in ("low", "high"):
            value = getattr(expected, end)[0]
            assert found[end] is None if np.isnan(value) else found[end] == value


@pytest.mark.skipif(NODE is None, reason="node is not installed: the page's script cannot be read here")
def test_the_browsers_script_is_whole():
    subprocess.run([NODE, "--check", str(FOLDER / "lab_browser.js")], check=True)


def test_bars_stand_on_the_axis_and_are_as_high_as_their_share():
    chart = bar_chart("shares", {"grpo": {"left": 0.5, "right": 1.0}, "gapo": {"left": 0.25}}, ["left", "right"])
    half, quarter, whole = chart.bars
    assert half.height == pytest.approx(whole.height / 2) and quarter.height == pytest.approx(whole.height / 4)
    assert {round(bar.y + bar.height, 6) for bar in chart.bars} == {174}
    assert bar_chart("none", {}, []) is None


def test_a_chart_over_tau_has_ticks_that_are_no_whole_numbers():
    points = tuple(Point(tau, tau**2) for tau in (0.1, 0.5, 0.9))
    chart = line_chart("agreement", [Series("gapo", points)], over="tau")
    assert [tick.text for tick in chart.x_ticks] == ["0.25", "0.50", "0.75"] or len(chart.x_ticks) > 2
    assert chart.lines[0].marks[1].text == "tau 0.5: 0.25"
