"""em, ed, edem, bleu: hand-derived cases, components, malformed answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests" / "golden" / "rewards.json").read_text(encoding="utf-8"))["cases"]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "reward").glob("*.yaml"))

rewards = pytest.mark.parametrize("name", NAMES)


def build(name: str):
    return instantiate(OmegaConf.load(ROOT / "conf" / "reward" / f"{name}.yaml"))


@pytest.mark.parametrize("name", [name for name in NAMES if name in CASES[0]])
def test_hand_derived_scores_in_one_batch(name):
    scored = build(name)([case["prediction"] for case in CASES], [case["target"] for case in CASES])
    assert set(scored) == {"score", *(("em", "ed") if name == "edem" else (name,))}
    for column in scored:
        expected = [case[name if column == "score" else column] for case in CASES]
        np.testing.assert_allclose(scored[column], expected, atol=1e-6, err_msg=column)


@rewards
def test_columns_are_float64_and_independent_of_each_other(name):
    scored = build(name)(["a"], ["a"])
    assert len(scored) > 1 and "score" in scored
    assert {column.dtype for column in scored.values()} == {np.dtype(np.float64)}
    scored["score"] -= 1
    assert all(scored[component].tolist() == [1.0] for component in set(scored) - {"score"})


@rewards
def test_batch_of_malformed_answers_scores_zero(name):
    assert build(name)([None, None], ["", "a"])["score"].tolist() == [0.0, 0.0]


@rewards
def test_empty_batch_has_no_scores(name):
    assert build(name)([], [])["score"].shape == (0,)


@rewards
def test_unequal_numbers_of_predictions_and_targets_are_refused(name):
    with pytest.raises(ValueError):
        build(name)(["a"], ["a", "b"])


def test_wrong_answer_scores_below_half_under_edem():
    long = "return value_of(the_argument)"
    scored = build("edem")([long + ";", long], [long, long])
    assert 0.48 < scored["score"][0] < 0.5
    assert scored["score"][1] == 1.0
