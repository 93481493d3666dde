"""Two evaluations paired: McNemar's exact test and the difference, by hand."""

import pytest

from gapo_cli.errors import DataError
from gapo_cli.evaluation.paired import compare, mcnemar_exact
from gapo_cli.evaluation.predictions import Prediction
from gapo_cli.reports.paired_words import comparison_lines


def answer(task, right, mode="greedy", sample=0, target="new"):
    region = target if right else "wrong"
    return Prediction(task, "", "python", mode, sample, region, region, None, "stop", 1, "old", target)


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        (5, 1, 2 * (1 + 6) / 64),  # C(6,0) + C(6,1) of the 2^6 outcomes, on either side
        (1, 5, 2 * (1 + 6) / 64),
        (8, 0, 2 / 256),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_counts_the_coins_that_fall_as_unevenly(first, second, p_value):
    assert mcnemar_exact(first, second) == pytest.approx(p_value)


def test_greedy_answers_are_counted_task_by_task_over_the_shared_tasks():
    this = [answer("a", True), answer("b", True), answer("c", False), answer("d", False), answer("mine", True)]
    other = [answer("d", True), answer("c", False), answer("b", False), answer("a", True), answer("theirs", True)]
    one = compare(this, other)["greedy"]
    assert (one.tasks, one.only_this, one.only_other) == (4, 1, 1)
    assert (one.both_right, one.this_right, one.other_right, one.neither_right) == (1, 1, 1, 1)
    assert (one.this, one.other, one.difference.value, one.p_value) == (1 / 2, 1 / 2, 0.0, 1.0)
    assert one.difference.low < 0 < one.difference.high


def test_samples_are_averaged_within_their_task_and_have_no_exact_test():
    this = [answer("a", index < 3, "sampled", index) for index in range(4)] + [answer("b", False, "sampled")]
    other = [answer("a", index < 1, "sampled", index) for index in range(2)] + [answer("b", False, "sampled")]
    one = compare(this, other)["sampled"]
    # a: 3/4 against 1/2; b: 0 against 0
    assert (one.this, one.other, one.difference.value) == (3 / 8, 1 / 4, 1 / 8)
    assert one.p_value is None and one.both_right is None


def test_an_id_that_stands_for_two_edits_is_refused():
    with pytest.raises(DataError, match="task a: has another region or target"):
        compare([answer("a", True)], [answer("a", True, target="newer")])


def test_evaluations_without_a_shared_task_or_mode_are_refused():
    with pytest.raises(DataError, match="none of the 1 tasks is among the 1"):
        compare([answer("a", True)], [answer("b", True)])
    with pytest.raises(DataError, match="nothing to pair"):
        compare([answer("a", True)], [answer("a", True, "sampled")])


@pytest.mark.parametrize(
    ("wins", "losses", "conclusion"),
    [
        (
            8,
            0,
            "p = 0.008: between two equally good models a split of 8 to 0 or a more uneven one would be that rare. This one is better",
        ),
        (0, 8, "The other one is better on tasks like these"),
        (5, 1, "p = 0.219: a split of 5 to 1 is what chance may well give"),
        (0, 0, "They are right on the same tasks: nothing tells them apart."),
    ],
)
def test_the_conclusion_follows_the_test(wins, losses, conclusion):
    tasks = range(wins + losses + 2)
    this = [answer(f"t{number}", number < wins) for number in tasks]
    other = [answer(f"t{number}", wins <= number < wins + losses) for number in tasks]
    assert conclusion in "\n".join(comparison_lines(compare(this, other), "mine", "theirs"))
