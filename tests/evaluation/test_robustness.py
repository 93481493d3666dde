"""Exact match under perturbations: counted by hand on four tasks."""

import pytest

from gapo_cli.errors import DataError
from gapo_cli.evaluation.predictions import predicted_region, unanswered
from gapo_cli.evaluation.robustness import PerturbedPrediction, measure_robustness
from gapo_cli.reports.robustness_table import left_out_lines, robustness_table

from parts import edit_task  # isort: skip

RIGHT = "a = c\n"


def answer(number, region=RIGHT):
    task = edit_task(number)
    return unanswered(task, "question", "greedy") if region is None else predicted_region(task, region)


def under(name, number, region=RIGHT, restored="as it stands"):
    return PerturbedPrediction(name, answer(number, region), region if restored == "as it stands" else restored)


CLEAN = [answer(0), answer(1), answer(2, "wrong\n"), answer(3, None)]
"""Two of four are right."""
PERTURBED = [
    under("first", 0), under("first", 1, "worse\n"), under("first", 2, "wrong\n"), under("first", 3, None),
    # the same text in other names: another answer as it stands, the same one read back
    under("second", 0, "z = y\n", restored=f" {RIGHT}"), under("second", 2, RIGHT),
]  # fmt: skip


@pytest.fixture
def found():
    return measure_robustness(CLEAN, PERTURBED, left_out={"first": {}, "second": {"no cursor": 2}, "third": {"no hints": 4}})


def test_each_perturbation_stands_beside_the_same_tasks_as_they_are(found):
    first, second = found.under["first"], found.under["second"]
    assert (found.tasks, found.clean.value) == (4, 2 / 4)
    assert (first.tasks, first.exact_match.value, first.clean.value, first.drop.value) == (4, 1 / 4, 2 / 4, 1 / 4)
    # 0 was right and is not in the names of its task; 2 was wrong and is right
    assert (second.tasks, second.exact_match.value, second.clean.value, second.drop.value) == (2, 1 / 2, 1 / 2, 0)
    assert first.exact_match.low < 1 / 4 < first.exact_match.high
    assert (first.exact_match.method, first.drop.method) == ("wilson", "bootstrap over tasks")


def test_the_same_answer_is_the_one_read_back_and_a_malformed_one_never_is(found):
    # 0 and 2 say the same under the first; 3 says nothing twice
    assert found.under["first"].same.value == 2 / 4
    assert found.under["second"].same.value == 1 / 2
    # under all: 0 alone; 2 says another thing under the second
    assert found.worst.same.value == 1 / 4


def test_the_worst_case_is_right_as_it_is_and_under_all(found):
    # 0 is wrong under the second, 1 under the first, 2 as it is
    assert (found.worst.tasks, found.worst.exact_match.value, found.worst.drop.value) == (4, 0, 2 / 4)


def test_the_worst_case_leaves_out_tasks_that_nothing_applies_to():
    found = measure_robustness(CLEAN, [under("first", 0)])
    assert (found.tasks, found.worst.tasks, found.worst.clean.value) == (4, 1, 1)


def test_sampled_answers_are_a_noise_of_their_own():
    from dataclasses import replace

    sampled = [replace(answer(0, region), mode="sampled", sample=index) for index, region in enumerate((RIGHT, "other\n"))]
    found = measure_robustness([*CLEAN, *sampled], PERTURBED, temperature=0.7)
    one = found.sampled
    assert (one.tasks, one.exact_match.value, one.clean.value, one.drop.value, one.same.value) == (1, 0.5, 1, 0.5, 0.5)
    assert "sampled at temperature 0.7" in robustness_table(found).to_text()
    assert measure_robustness(CLEAN, PERTURBED, temperature=0.7).temperature is None


def test_the_table_has_a_row_for_each_and_says_what_is_left_out(found):
    rows = {row[0]: row[1:] for row in robustness_table(found).rows}
    assert list(rows) == ["clean", "first", "second", "worst of all"]
    assert rows["second"][0] == "2" and rows["first"][3].startswith("25.0 [")
    assert left_out_lines(found) == [
        "second applies to 2 of 4 tasks; not to the others: no cursor 2.",
        "third applies to 0 of 4 tasks; not to the others: no hints 4.",
    ]


def test_answers_that_nothing_can_be_compared_with_are_refused():
    with pytest.raises(DataError, match="task task-9: has an answer under first and none as it is"):
        measure_robustness(CLEAN, [under("first", 9)])
    with pytest.raises(DataError, match="no task is perturbed"):
        measure_robustness(CLEAN, [])
