"""Metrics from writer to reader: what real runs write is defined, and what is drawn or shown is written."""

import json
import re
from pathlib import Path

import pytest
from parts import smallest, write_tasks

from gapo_cli import metric_names as names
from gapo_cli.cli.entry import run_command
from gapo_cli.console import COLUMNS
from gapo_cli.metric_names import METRICS, find
from gapo_cli.reports.curves import CURVES, SHAPE_METRICS
from gapo_cli.runs.layout import METRICS as METRICS_FILE

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_model_folder):
    """Two RL runs, without and with a critic, a supervised run and one of pairs, by the command line."""
    folder = tmp_path_factory.mktemp("metrics")
    words = smallest(write_tasks(folder / "mine.jsonl", rejected=True), tiny_model_folder)
    words += [
        f"data.directory={folder / 'data'}",
        "supervised.log_every=1",
        "trainer.checkpoint_every=1",
        "supervised.checkpoint_every=1",
        "reward.on_error=missing",
        "algorithm.terms.jacobian.coefficient=0.1",
        "algorithm.terms.smoothness.coefficient=0.1",
    ]
    asked = {
        "rl": ["stage=rl"],
        "rl with a critic": ["algorithm=ppo", "algorithm.ppo.kl_in_reward=0.1"],
        "supervised": ["stage=sft"],
        "preference": ["stage=dpo"],
    }
    for name, own in asked.items():
        assert run_command(["train", *words, *own, f"hydra.run.dir='{folder / name}'", "-q"]) == 0
    return {name: folder / name for name in asked}


@pytest.fixture(scope="module")
def written(runs):
    """Which metrics each kind of row has: those of a step, and, under "evaluation", those that only come with one."""
    found = {"evaluation": set()}
    for name, run in runs.items():
        writer = name.split()[0]
        rows = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
        held_out = {key for row in rows for key in row if key.startswith(names.GREEDY) or key == "timing_s/testing"}
        found["evaluation"] |= held_out
        found.setdefault(writer, set()).update({key for row in rows for key in row} - held_out)
    return found


@pytest.mark.slow
def test_every_metric_that_is_written_is_defined_with_its_writer(written):
    for writer, keys in written.items():
        for key in keys:
            assert writer in find(key).writers, key


@pytest.mark.slow
def test_every_definition_has_a_writer_that_writes_it(written):
    for metric in METRICS:
        for writer in metric.writers:
            if metric.name not in (names.STEP, names.TIME):  # an evaluation's row has those of its step
                assert any(metric.covers(key) for key in written[writer]), f"{metric.name} by {writer}"


@pytest.mark.slow
def test_every_curve_and_column_has_a_writer(written):
    everything = set().union(*written.values())
    for key in [*(curve.key for curve in CURVES), *SHAPE_METRICS.values()]:
        assert key in everything, key
    for column in COLUMNS:  # the exact match among them is a component of the default reward
        assert column.key in everything, column.title
    assert {names.GREEDY_EXACT, names.SAMPLED_EXACT, names.CLIPPED, names.TIME} <= everything


@pytest.mark.slow
def test_a_supervised_report_draws_its_loss_and_no_rewards(runs):
    titles = re.findall(r"<strong>(.*?)</strong>", (runs["supervised"] / "report.html").read_text())
    assert "Training loss" in titles and "Gradient norm" in titles
    assert "Reward" not in titles
    titles = re.findall(r"<strong>(.*?)</strong>", (runs["rl"] / "report.html").read_text())
    assert "Reward" in titles and "Training loss" not in titles


@pytest.mark.slow
def test_a_report_of_pairs_draws_its_loss_margin_and_both_answers(runs):
    titles = re.findall(r"<strong>(.*?)</strong>", (runs["preference"] / "report.html").read_text())
    own = {"Preference loss", "Pairs told apart", "Reward margin", "Better answers", "Worse answers"}
    assert own | {"Gradient norm"} <= set(titles)
    assert "Reward" not in titles and "Training loss" not in titles


def test_names_with_choices_and_parts():
    exact = find("val/sampled/exact_match_low")
    assert exact.title == "Exact match on held-out tasks"
    assert find("val/exact_match") is exact
    assert find("val/chrf").covers("val/sampled/chrf")
    assert find("reward/em/mean").name == "reward/<component>/mean"
    with pytest.raises(KeyError):
        find("train/loss")


def test_a_plain_name_finds_its_own_definition():
    plain = [metric.name for metric in METRICS if not re.search("[{<]", metric.name)]
    assert [find(name).name for name in plain] == plain


def test_the_reference_page_is_current():
    page = DOCS / "reference" / "metrics.md"
    command = (
        "python -c 'from gapo_cli.metric_names import reference; print(reference(), end=\"\")' > docs/reference/metrics.md"
    )
    assert page.read_text() == names.reference(), f"make it again: {command}"
