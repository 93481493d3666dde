"""chrF, delta-chrF and changed lines, by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF

from gapo_cli.edits import measures as edit_measures
from gapo_cli.edits.measures import changed_lines, chrf, delta_chrf

TEXTS = st.text("ab \n", max_size=12)
LONGER_TEXTS = st.text("abc \n\u2028", max_size=40)


def counted_delta_chrf(before, prediction, target):
    """The definition, counting every n-gram of the three stripped texts."""
    before, prediction, target = before.strip(), prediction.strip(), target.strip()
    if prediction == target:
        return 1.0
    precisions, recalls = [], []
    for order in range(1, 7):
        base, predicted, right = (
            Counter(text[place : place + order] for place in range(len(text) - order + 1))
            for text in (before, prediction, target)
        )
        of_prediction = {key: predicted[key] - base[key] for key in base | predicted if predicted[key] != base[key]}
        of_target = {key: right[key] - base[key] for key in base | right if right[key] != base[key]}
        if of_prediction or of_target:
            agreed = sum(min(abs(n), abs(of_target[key])) for key, n in of_prediction.items() if n * of_target.get(key, 0) > 0)
            precisions.append(agreed / sum(map(abs, of_prediction.values())) if of_prediction else 0)
            recalls.append(agreed / sum(map(abs, of_target.values())) if of_target else 0)
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 5 * precision * recall / (4 * precision + recall) if precision and recall else 0.0


def test_chrf_averages_precision_and_recall_over_the_orders_that_both_texts_have():
    # 1-grams: a of {a, b} and of {a, c}: 1/2 and 1/2; 2-grams: 0 and 0; no longer ones. P = R = 1/4
    assert chrf("ab", "ac") == pytest.approx(1 / 4)
    assert chrf(" ab\n", "ab") == 1.0
    assert chrf("", "") == 1.0
    assert chrf("", "a") == 0.0


def test_delta_chrf_looks_at_the_change_alone():
    # target ab -> ac: 1-grams -b +c, 2-grams -ab +ac; prediction ab -> ad shares -b and -ab: half of everything
    assert delta_chrf("ab", "ad", "ac") == pytest.approx(1 / 2)
    # the prediction removes b (-b; -ab) and adds nothing: P = 1, R = 1/2, F2 = 5 * 1/2 / (4 + 1/2)
    assert delta_chrf("ab", "a", "ac") == pytest.approx(5 / 9)
    # the other way round: P = 1/2, R = 1, F2 = 5 * 1/2 / (2 + 1)
    assert delta_chrf("ab", "ac", "a") == pytest.approx(5 / 6)


def test_delta_chrf_counts_signs_and_how_often():
    # target adds one a, prediction removes one: 1-grams +a against -a; 2-grams +aa against -aa; 3-grams +aaa against none
    assert delta_chrf("aa", "a", "aaa") == 0.0
    # target: +2 a, +2 aa, +1 aaa; prediction: +1 a, +1 aa: P = (1 + 1 + 0)/3, R = (1/2 + 1/2 + 0)/3
    assert delta_chrf("a", "aa", "aaa") == pytest.approx(5 * (2 / 3) * (1 / 3) / (4 * (2 / 3) + 1 / 3))


def test_an_edit_and_no_edit_have_no_delta_chrf_and_two_that_change_nothing_agree():
    assert delta_chrf("a", "a", "b") == 0.0
    assert delta_chrf("a", "b", "a") == 0.0
    assert delta_chrf("a", "a\n", "a") == 1.0


def test_a_change_of_indentation_is_a_change():
    assert delta_chrf("if x:\ny", "if x:\n  y", "if x:\n    y") > 0.3


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
    found = (chrf(prediction, target), delta_chrf(before, prediction, target), *changed_lines(before, prediction, target))
    assert all(0 <= value <= 1 for value in found)
    assert (chrf(target, target), delta_chrf(before, target, target), changed_lines(before, target, target)) == (1, 1, (1, 1))


@given(TEXTS, TEXTS, TEXTS)
def test_precision_of_one_side_is_recall_of_the_other(before, prediction, target):
    precision, recall = changed_lines(before, prediction, target)
    assert changed_lines(before, target, prediction) == (recall, precision)


@given(LONGER_TEXTS, LONGER_TEXTS)
def test_chrf_is_that_of_sacrebleu(prediction, target):
    if prediction.strip() != target.strip():
        expected = CHRF(char_order=6, word_order=0, beta=2).sentence_score(prediction.strip(), [target.strip()]).score / 100
        assert chrf(prediction, target) == pytest.approx(expected, abs=1e-12)


@given(LONGER_TEXTS, LONGER_TEXTS, LONGER_TEXTS)
def test_leaving_out_what_texts_share_changes_no_delta_chrf(before, prediction, target):
    assert delta_chrf(before, prediction, target) == pytest.approx(counted_delta_chrf(before, prediction, target), abs=1e-12)


@given(LONGER_TEXTS, LONGER_TEXTS, LONGER_TEXTS)
def test_texts_too_long_to_be_aligned_get_the_same_numbers(before, prediction, target):
    with pytest.MonkeyPatch.context() as patch:
        whole = chrf(prediction, target), delta_chrf(before, prediction, target)
        patch.setattr(edit_measures, "LONGEST_COMPARED", 0)
        edit_measures.ngram_deltas.cache_clear()
        assert (chrf(prediction, target), delta_chrf(before, prediction, target)) == pytest.approx(whole, abs=1e-12)
    edit_measures.ngram_deltas.cache_clear()


def test_only_line_breaks_end_a_line():
    # the prediction removes two lines and adds one, of which one is right; str.splitlines would make four of the two
    assert changed_lines("a\x0cb\nc\u2028d\n", "e", "a\x0cb\n") == (pytest.approx(1 / 3), 1.0)
    assert changed_lines("a\x0cb\r\nc\u2028d\r\nx", "x", "a\x0cb\nx") == (1 / 2, 1.0)
