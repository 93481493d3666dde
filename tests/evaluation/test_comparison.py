import numpy as np
import pytest

from gapo_cli.evaluation.paired import exact_match_by_task, paired_differences
from gapo_cli.evaluation.predictions import Prediction
from gapo_cli.statistics.intervals import Measure, measure_differences


def prediction(task, right, mode="greedy", sample=0):
    return Prediction(
        task, "", "go", mode, sample, "", "new" if right else None, None if right else "why", "stop", 1, "old", "new\n"
    )


def test_exact_match_of_a_task_is_the_share_of_its_answers():
    answers = [prediction("a", True, "sampled", 0), prediction("a", False, "sampled", 1), prediction("a", True)]
    assert exact_match_by_task(answers, "sampled") == {"a": 0.5}
    assert exact_match_by_task(answers, "greedy") == {"a": 1.0}


def test_differences_are_paired_by_task_and_mode():
    before = [prediction("a", False), prediction("b", True), prediction("only before", True), prediction("a", True, "sampled")]
    after = [prediction("b", True), prediction("a", True), prediction("only after", False)]
    differences = paired_differences(before, after)
    # a rose by 1, b stayed; of the resamples of two tasks a quarter is (a, a) and a quarter (b, b)
    assert differences == {"greedy": Measure(0.5, 0.0, 1.0, "bootstrap over tasks")}


def test_pairing_takes_out_how_hard_the_tasks_are():
    # 100 tasks, half of them right before; each of 20 wrong ones becomes right: 0.2 ± 1.96·sqrt(0.2·0.8/100)
    values = np.zeros(100)
    values[:20] = 1
    measure = measure_differences(values)
    assert measure.value == pytest.approx(0.2)
    assert measure.low == pytest.approx(0.2 - 0.0784, abs=0.012)
    assert measure.high == pytest.approx(0.2 + 0.0784, abs=0.012)


def test_equal_differences_claim_no_interval():
    assert measure_differences(np.zeros(5)) == Measure(0.0, None, None, None)
    assert measure_differences(np.empty(0)) == Measure()
