"""What a run is worth, and which objectives an evaluation can give."""

import math

import pytest

from gapo_cli.config.sampling import EvaluationConfig
from gapo_cli.errors import UserError
from gapo_cli.search.objectives import check_objectives, fitness_of, values_of
from gapo_cli.statistics.over_seeds import JobRecord

ROWS = (
    {"step": 0, "val/exact_match": 0.9},
    {"step": 1, "training/computed_tokens": 200},
    {"step": 2, "training/computed_tokens": 400, "val/exact_match": 0.5},
)


def test_the_last_evaluation_counts_and_tokens_are_those_computed_by_then():
    record = JobRecord(0, "a", "0", ROWS, 12.0)
    assert values_of(record, ["val/exact_match", "tokens", "seconds"]) == {
        "val/exact_match": 0.5,
        "tokens": 400.0,
        "seconds": 12.0,
    }


def test_a_job_that_failed_or_has_no_number_has_no_fitness():
    failed = values_of(JobRecord(0, "a", "0", ROWS, 12.0, "diverged"), ["val/exact_match"])
    missing = values_of(JobRecord(1, "a", "0", ROWS, 12.0), ["val/sampled/exact_match"])
    assert math.isnan(failed["val/exact_match"])
    assert math.isnan(missing["val/sampled/exact_match"])
    goals = {"val/exact_match": "max", "seconds": "min"}
    values = {0: {"val/exact_match": math.nan, "seconds": 1.0}, 1: {"val/exact_match": 0.5, "seconds": 3.0}}
    assert fitness_of(values, goals) == {1: (0.5, -3.0)}


@pytest.mark.parametrize(
    ("name", "evaluation", "given"),
    [
        ("val/exact_match", EvaluationConfig(), True),
        ("val/exact_match", EvaluationConfig(greedy=False, samples=1), False),
        ("val/sampled/exact_match", EvaluationConfig(), False),
        ("val/sampled/pass@4", EvaluationConfig(samples=4), True),
        ("val/sampled/pass@8", EvaluationConfig(samples=4), False),
        ("val/exact_mach", EvaluationConfig(), False),
        ("seconds", EvaluationConfig(), True),
    ],
)
def test_an_objective_must_be_given_by_the_evaluation(name, evaluation, given):
    if given:
        check_objectives([name], evaluation)
    else:
        with pytest.raises(UserError, match=f"objectives: {name}: no evaluation with"):
            check_objectives([name], evaluation)
