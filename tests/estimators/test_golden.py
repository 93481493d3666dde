"""Vectors derived by hand, in tests/golden/estimators.json with their arithmetic."""

import json
from pathlib import Path

import numpy as np
import pytest
from estimator_parts import NAMES, build

CASES = json.loads((Path(__file__).parents[1] / "golden" / "estimators.json").read_text(encoding="utf-8"))["cases"]


def numbers(values: list[float | None]) -> np.ndarray:
    return np.array([[np.nan if value is None else value for value in values]])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['estimator']}: {case['name']}")
def test_hand_derived_vector(case: dict):
    lengths = numbers(case["lengths"]) if "lengths" in case else None
    result = build(case["estimator"], **case["settings"])(numbers(case["rewards"]), lengths)
    np.testing.assert_allclose(result.values, numbers(case["advantages"]), atol=2e-5)
    np.testing.assert_allclose(result.baseline, [case["baseline"]], atol=1e-6)
    np.testing.assert_allclose(result.low, [case.get("low", np.nan)], atol=1e-12)
    np.testing.assert_allclose(result.high, [case.get("high", np.nan)], atol=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if "divisor" in case], ids=lambda case: case["name"])
def test_hand_derived_divisor_agrees_with_the_hand_derived_advantages(case: dict):
    rewards, advantages = numbers(case["rewards"]), numbers(case["advantages"])
    present = ~np.isnan(rewards)
    np.testing.assert_allclose((rewards[present] - case["baseline"]) / case["divisor"], advantages[present], atol=2e-5)


def test_every_estimator_has_a_golden_vector():
    assert {case["estimator"] for case in CASES} >= set(NAMES)
