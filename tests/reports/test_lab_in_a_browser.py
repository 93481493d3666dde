"""The laboratory's page in a headless browser, where one is installed: what it shows is what Python computes.

It needs the package playwright (extra `browser`) and a Chromium: on the PATH, or named by GAPO_TEST_BROWSER.
"""

import os
import shutil

import numpy as np
import pytest
from lab_parts import pool_rewards, write_rewards

from gapo_cli.cli.entry import run_command
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.grpo import GRPO

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser can be driven")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("GAPO_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
# without a GPU, as root and in a container
ARGUMENTS = ["--no-sandbox", "--no-zygote", "--disable-gpu", "--in-process-gpu", "--disable-dev-shm-usage"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: the page cannot be opened"),
]


@pytest.fixture(scope="module")
def rewards():
    return pool_rewards(6, 64)


@pytest.fixture(scope="module")
def opened(rewards, tmp_path_factory):
    """The page of a pool, and what went wrong in its scripts."""
    folder = tmp_path_factory.mktemp("lab")
    pool = write_rewards(folder / "pool" / "rollouts.parquet", rewards)
    assert run_command(["lab", str(pool), "trials=4", "group_size=4,8", "corruption=0.1", "-o", str(folder / "out"), "-q"]) == 0
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=ARGUMENTS, timeout=120_000)
        page, errors = browser.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((folder / "out" / "lab.html").as_uri(), timeout=120_000)
        yield page, errors
        browser.close()


def assert_shows(page, estimator, group):
    """The table of the browser of groups: a row a reward, the highest first, with its number of answers and its advantage."""
    rows = [[float(cell) for cell in row.split()] for row in page.locator("#browser tbody tr").all_inner_texts()]
    advantages = dict(zip(group, estimator(group[None]).values[0], strict=True))
    expected = [[reward, np.sum(group == reward), advantages[reward]] for reward in sorted(advantages, reverse=True)]
    # three digits are shown
    np.testing.assert_allclose(rows, expected, atol=6e-4)


def test_every_group_shows_the_advantages_that_python_gives_at_every_tau(opened, rewards):
    page, errors = opened
    for place in range(len(rewards)):
        page.get_by_label("group", exact=True).select_option(str(place))
        for tau in (0.3, 0.5, 0.9):
            page.get_by_label("tau", exact=True).fill(str(tau))
            assert_shows(page, GAPO(tau), rewards[place])
    assert errors == []


def test_another_estimator_and_a_part_of_the_pool_are_shown_too(opened, rewards):
    page, errors = opened
    page.get_by_label("group", exact=True).select_option("0")
    page.get_by_label("estimator", exact=True).select_option(label="grpo")
    assert_shows(page, GRPO(), rewards[0])
    page.get_by_label("answers", exact=True).select_option(label="8 of them")
    assert_shows(page, GRPO(), rewards[0][:8])
    assert page.locator("#browser svg circle").count() == 8
    assert errors == []


def test_the_plots_are_drawn_and_lie_above_the_groups(opened):
    page, _ = opened
    charts = page.locator(".charts svg")
    assert charts.count() >= 6
    boxes = [charts.nth(place).bounding_box() for place in range(charts.count())]
    assert all(box["width"] > 100 and box["height"] > 60 for box in boxes)
    assert max(box["y"] for box in boxes) < page.locator("#browser").bounding_box()["y"]
    assert np.isclose(
        page.evaluate("document.documentElement.scrollWidth"), page.evaluate("document.documentElement.clientWidth")
    )
