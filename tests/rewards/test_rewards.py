"""em, ed, edem, bleu: hand-derived cases, components, malformed answers, several targets."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from parts import edit_task

from gapo_cli.records import EditTask

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests" / "golden" / "rewards.json").read_text(encoding="utf-8"))["cases"]
COMPONENTS = {"em": {"em"}, "ed": {"ed"}, "edem": {"em", "ed"}, "bleu": {"bleu"}}

rewards = pytest.mark.parametrize("name", COMPONENTS)


def build(name: str):
    return instantiate(OmegaConf.load(ROOT / "conf" / "reward" / f"{name}.yaml"))


def to(*targets: str) -> list[EditTask]:
    """Tasks with these targets, whose region is empty."""
    return [edit_task(number, region="", target=target) for number, target in enumerate(targets)]


@rewards
def test_hand_derived_scores_in_one_batch(name):
    scored = build(name)([case["prediction"] for case in CASES], to(*(case["target"] for case in CASES)))
    for column in (*COMPONENTS[name], "score"):
        expected = [case[name if column == "score" else column] for case in CASES]
        np.testing.assert_allclose(scored[column], expected, atol=1e-6, err_msg=column)


@rewards
def test_columns_are_float64_and_independent_of_each_other(name):
    scored = build(name)(["a"], to("a"))
    assert set(scored) == COMPONENTS[name] | {"score"}
    assert {column.dtype for column in scored.values()} == {np.dtype(np.float64)}
    scored["score"] -= 1
    assert all(scored[component].tolist() == [1.0] for component in COMPONENTS[name])


@rewards
def test_batch_of_malformed_answers_scores_zero(name):
    assert build(name)([None, None], to("", "a"))["score"].tolist() == [0.0, 0.0]


@rewards
def test_empty_batch_has_no_scores(name):
    assert build(name)([], [])["score"].shape == (0,)


@rewards
def test_unequal_numbers_of_predictions_and_targets_are_refused(name):
    with pytest.raises(ValueError):
        build(name)(["a"], to("a", "b"))


@rewards
def test_of_several_targets_the_best_one_counts(name):
    several = replace(to("x = 1 + 2")[0], alternatives=("x = 3", "x = 4"))
    assert build(name)(["x = 4", "x = 1 + 2", None], [several] * 3)["score"].tolist() == [1.0, 1.0, 0.0]


def test_wrong_answer_scores_below_half_under_edem():
    long = "return value_of(the_argument)"
    scored = build("edem")([long + ";", long], to(long, long))
    assert 0.48 < scored["score"][0] < 0.5
    assert scored["score"][1] == 1.0
