"""The laboratory's page computes what Python computes."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from lab_parts import write_rewards

from gapo_cli.estimators.dr_grpo import DrGRPO
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.gapo_mean import GAPOMean
from gapo_cli.estimators.gapo_median_std import GAPOMedianStd
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.estimators.median import Median
from gapo_cli.estimators.opo import OPO
from gapo_cli.estimators.quantile import Quantile
from gapo_cli.estimators.rloo import RLOO
from gapo_cli.lab.laboratory import LabSettings, examine
from gapo_cli.lab.replay import Variant
from gapo_cli.reports import lab_page
from gapo_cli.reports.bars import bar_chart
from gapo_cli.reports.charts import Point, Series, line_chart
from gapo_cli.reports.lab_page import render_lab
from gapo_cli.reports.templates import FOLDER

NODE = shutil.which("node")
FAKE_DOM = Path(__file__).parent / "fake_dom.js"
with_node = pytest.mark.skipif(NODE is None, reason="node is not installed: the page's scripts cannot be run here")
ESTIMATORS = {
    "gapo": GAPO, "gapo_mean": GAPOMean, "gapo_median_std": GAPOMedianStd, "quantile": Quantile,
    "grpo": lambda _: GRPO(), "median": lambda _: Median(), "dr_grpo": lambda _: DrGRPO(), "rloo": lambda _: RLOO(),
    "opo": lambda _: OPO(),
}  # fmt: skip


@with_node
def test_the_script_gives_the_advantages_q_and_h_that_python_gives():
    generator = np.random.default_rng(0)
    # sixty-fourths make ties; 0.55 and 0.56 are what floats get wrong before a ceiling
    groups = [generator.integers(0, 65, size) / 64 for size in (1, 2, 3, 8, 20, 25, 128) for _ in range(4)]
    groups += [np.full(5, 0.3), generator.random(16)]
    cases = [
        {"name": name, "rewards": group.tolist(), "setting": setting, "lengths": generator.integers(1, 50, len(group)).tolist()}
        for name in ESTIMATORS
        for group in groups
        for setting in (0.05, 0.5, 0.55, 0.56, 1.0)
    ]
    code = (
        f"const page = require({json.dumps(str(FOLDER / 'lab_estimators.js'))});"
        "const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "console.log(JSON.stringify(cases.map((one) => page.advantages(one.name, one.rewards, one.setting, one.lengths))));"
    )
    ran = subprocess.run([NODE, "-e", code], input=json.dumps(cases), capture_output=True, text=True, check=True)
    for case, found in zip(cases, json.loads(ran.stdout), strict=True):
        expected = ESTIMATORS[case["name"]](case["setting"])(np.array([case["rewards"]]), np.array([case["lengths"]]))
        assert found["values"] == pytest.approx(expected.values[0].tolist(), abs=1e-9, rel=1e-9), case
        assert found["baseline"] == pytest.approx(expected.baseline[0])
        for end in ("low", "high"):
            value = getattr(expected, end)[0]
            assert found[end] is None if np.isnan(value) else found[end] == value


@with_node
def test_the_browsers_script_is_whole():
    subprocess.run([NODE, "--check", str(FOLDER / "lab_browser.js")], check=True)


@pytest.fixture
def shown(tmp_path):
    """What the browser of groups shows at first and after each choice, of sources named a, b, ..., each (groups, completions)."""

    def run(sources, choices):
        settings = LabSettings((Variant("grpo", "grpo", GRPO()),), smallest_pool=1000)
        found = [
            examine(write_rewards(tmp_path / f"{name}.parquet", rewards), name, settings)
            for name, rewards in zip("abc", sources, strict=False)
        ]
        page = tmp_path / "lab.html"
        page.write_text(render_lab(found, settings, [(one.saved.name, ()) for one in found]))
        ran = subprocess.run([NODE, FAKE_DOM, page], input=json.dumps(choices), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


@with_node
def test_rollouts_without_any_reward_are_said_and_other_rollouts_can_be_chosen(shown):
    (alone,) = shown([np.full((2, 4), np.nan)], [])
    assert (alone["notes"], alone["controls"]) == (["No group has rewards."], {})
    first, second = shown([np.full((2, 4), np.nan), np.array([[0.0, 1.0]])], [["rollouts", "b"]])
    assert (first["notes"], first["controls"]) == (["No group has rewards."], {"rollouts": ["a", "b"]})
    assert second["notes"] == [] and second["rows"][0][:2] == [1.0, 1]


@with_node
def test_groups_without_rewards_are_counted_apart_from_those_that_do_not_fit(shown, monkeypatch):
    rewards = np.array([[np.nan] * 4, [0.0, 1.0, np.nan, np.nan], [0.5, *[np.nan] * 3]])
    (page,) = shown([rewards], [])
    assert page["notes"] == ["Not shown, since no answer has a reward: 1 of 3 groups."]
    assert page["controls"]["group"] == ["1: symmetric, step 0, task-1", "2: one reward, step 0, task-2"]
    monkeypatch.setattr(lab_page, "MOST_REWARDS", 4)
    (page,) = shown([rewards], [])
    assert page["notes"] == ["Not shown, since no answer has a reward: 1 of 3 groups.", "Not kept on this page: 1 of 3 groups."]


@with_node
def test_a_part_of_a_pool_is_forgotten_where_the_next_group_is_no_larger(shown):
    pool, groups = np.arange(64.0)[None] / 64, np.array([[0.0, 0.25, 0.5, 1.0]])
    first, part, other = shown([pool, groups], [["answers", "32 of them"], ["rollouts", "b"]])
    assert "32 of them" in first["controls"]["answers"]
    assert part["controls"]["from"] == 32 and len(part["rows"]) == 32
    assert "from" not in other["controls"] and len(other["rows"]) == 4


@with_node
def test_opo_weighs_by_the_lengths_that_were_saved(shown):
    rewards = np.array([[0.0, 0.0, 0.0, 1.0]])
    _, page = shown([rewards], [["estimator", "opo"]])
    # all are of the same length, so Q is the mean
    assert page["words"][0] == "Q 0.250" and page["rows"] == [[1.0, 1, 0.75], [0.0, 3, -0.25]]


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
