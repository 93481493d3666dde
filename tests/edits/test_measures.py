"""chrF and changed lines, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF

from gapo_cli.edits import measures as edit_measures
from gapo_cli.edits.measures import changed_lines, chrf

TEXTS = st.text("ab \n", max_size=12)
LONGER_TEXTS = st.text("abc \n\u2028", max_size=40)


def test_chrf_averages_precision_and_recall_over_the_orders_that_both_texts_have():
    # 1-grams: a of {a, b} and of {a, c}: 1/2 and 1/2; 2-grams: 0 and 0; no longer ones. P = R = 1/4
    assert chrf("ab", "ac") == pytest.approx(1 / 4)
    assert chrf(" ab\n", "ab") == 1.0
    assert chrf("", "") == 1.0
    assert chrf("", "a") == 0.0


def test_changed_lines_are_counted_on_both_sides():
    before, target = "a\nb\nc\n", "a\nB\nc\nd\n"
    # target: -b +B +d; prediction: -b +X: one of its two lines is right, of the three right ones it has one
    assert changed_lines(before, "a\nX\nc\n", target) == (1 / 2, 1 / 3)
    assert changed_lines(before, target, target) == (1.0, 1.0)
    assert changed_lines(before, before, target) == (0.0, 0.0)
    assert changed_lines(before, "a\nX\nc\n", before) == (0.0, 0.0)
    assert changed_lines(before, before, before) == (1.0, 1.0)


def test_a_line_is_changed_as_often_as_its_count_differs():
    # target adds x twice, the prediction once
    assert changed_lines("a\n", "a\nx\n", "a\nx\nx\n") == (1.0, 1 / 2)
    # adding is not removing
    assert changed_lines("a\nx\n", "a\n", "a\nx\nx\n") == (0.0, 0.0)


def test_a_line_that_only_moved_is_not_changed():
    assert changed_lines("a\nb\nc\n", "b\na\nc\n", "a\nb\nc\nd\n") == (0.0, 0.0)


@given(TEXTS, TEXTS, TEXTS)
def test_measures_stay_in_range_and_the_right_answer_has_ones(before, prediction, target):
    found = (chrf(prediction, target), *changed_lines(before, prediction, target))
    assert all(0 <= value <= 1 for value in found)
    assert (chrf(target, target), changed_lines(before, target, target)) == (1, (1, 1))


@given(TEXTS, TEXTS, TEXTS)
def test_precision_of_one_side_is_recall_of_the_other(before, prediction, target):
    precision, recall = changed_lines(before, prediction, target)
    assert changed_lines(before, target, prediction) == (recall, precision)


@given(LONGER_TEXTS, LONGER_TEXTS)
def test_chrf_is_that_of_sacrebleu(prediction, target):
    if prediction.strip() != target.strip():
        expected = CHRF(char_order=6, word_order=0, beta=2).sentence_score(prediction.strip(), [target.strip()]).score / 100
        assert chrf(prediction, target) == pytest.approx(expected, abs=1e-12)


@given(LONGER_TEXTS, LONGER_TEXTS)
def test_texts_too_long_to_be_aligned_get_the_same_chrf(prediction, target):
    with pytest.MonkeyPatch.context() as patch:
        whole = chrf(prediction, target)
        patch.setattr(edit_measures, "LONGEST_COMPARED", 0)
        assert chrf(prediction, target) == pytest.approx(whole, abs=1e-12)


def test_only_line_breaks_end_a_line():
    # the prediction removes two lines and adds one, of which one is right; str.splitlines would make four of the two
    assert changed_lines("a\x0cb\nc\u2028d\n", "e", "a\x0cb\n") == (pytest.approx(1 / 3), 1.0)
    assert changed_lines("a\x0cb\r\nc\u2028d\r\nx", "x", "a\x0cb\nx") == (1 / 2, 1.0)
