"""Delta-chrF, kept rate, partial reversal and what is read off patches: worked examples of Zed's definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.edits.delta_chrf import CONSTANTS, delta_agreement, delta_chrf
from gapo_cli.edits.kept import kept
from gapo_cli.edits.partial_reversal import reversal_ratio
from gapo_cli.edits.patch_measures import (
    LineCounts,
    cursor_distance,
    exact_lines,
    has_isolated_blanks,
    is_wrong_region,
)
from gapo_cli.edits.units import units_of, word_parts

TEXTS = st.text("ab_ \n(", max_size=20)
SUM = "total = a + b\n"
AREA = "def area(w, h):\n    return w * h\n"
WIDTH = "def area(width, height):\n"


@pytest.mark.parametrize(
    ("before", "target", "prediction", "score"),
    [
        (SUM, "total = a + b + c\n", "total = a + b + c\n", 100),
        (SUM, "total = a + b + c\n", "total = a + b + d\n", 68.0556),
        (SUM, "total = a + b + c\n", SUM, 0),
        (SUM, "total = a + b + c\n", "total = a + b + c\nprint(total)\n", 35.1403),
        (SUM, SUM, "total = a + b + c\n", 0),
        (SUM, SUM, SUM, 100),
        (AREA, WIDTH + "    return width * height\n", WIDTH + "    return w * h\n", 85.1037),
        ("first()\nsecond()\n", "second()\nfirst()\n", "second()\nfirst()\n", 83.3333),
        ("x\n", "x\n", "y\n", 66.6667),
        ("if a:\n  b\n", "if a:\n    b\n", "if a:\n  b\n", 100),
        ("if a:\n  b\n", "if a:\n    b\n", "if a:\n  c\n", 0),
    ],
)
def test_delta_chrf_has_the_values_of_its_definition(before, target, prediction, score):
    assert 100 * delta_chrf(before, prediction, target) == pytest.approx(score, abs=5e-5)


def test_delta_chrf_names_its_constants_and_depends_on_them():
    assert str(CONSTANTS["zed-2026-04"]) == "orders 1-6, beta 0.5, white space collapsed"
    asked = (SUM, "total = a + b + c\nprint(total)\n", "total = a + b + c\n")
    # precision .3024 and recall 1 with both: 5 PR / (4 P + R) against 1.25 PR / (.25 P + R)
    agreed = delta_agreement(*asked)
    assert (agreed.precision, agreed.recall) == (pytest.approx(0.3024, abs=5e-5), 1)
    assert 100 * delta_chrf(*asked, CONSTANTS["zed-2026-03"]) == pytest.approx(68.43, abs=5e-3)
    # white space left out: nothing of an indentation is seen
    assert delta_chrf("a\n", "  a\n", "\ta\n", CONSTANTS["zed-2026-02"]) == 1


def test_a_blank_between_line_breaks_keeps_them_apart():
    from gapo_cli.edits.delta_chrf import collapsed

    assert collapsed("a\n \n\n\tb  c", True) == "a\n \n b c"
    assert collapsed("a\n \n\n\tb  c", False) == "abc"


@pytest.mark.parametrize(
    ("prediction", "target", "rate", "recall"),
    [
        ("let n = count + 1;", "let n = count + 1;", 1, 1),
        ("let n = count + 2;", "let n = count + 1;", 0.75, 0.75),
        ("let n = count;", "let n = count + 1;", 0, 0),
        ("let n = counter;", "let n = total;", 5 / 12, 5 / 10),
        ("let n = count;", "let n = count;", 1, 1),
    ],
)
def test_kept_rate_has_the_values_of_its_definition(prediction, target, rate, recall):
    assert kept("let n = count;", prediction, target) == pytest.approx((rate, recall))


def test_edits_of_very_different_size_are_not_compared():
    assert kept("a\n", "a\n" + "b" * 513, "a\n") == (0, 0)
    assert kept("a\n", "ab\n", "a\n") == (0, 0)  # nothing was right to type


def test_units_are_whole_identifiers_and_longest_operators():
    assert units_of("old_name>>>=1..2\r\n  x") == ["old_name", ">>>=", "1", "..", "2", "\r\n", "  ", "x"]
    assert word_parts("old_name = HTMLPage2Go") == ["old", "_", "name", " ", "=", " ", "HTML", "Page2", "Go"]


@given(TEXTS)
def test_units_and_parts_joined_are_the_text(text):
    assert "".join(units_of(text)) == "".join(word_parts(text)) == text


def test_reversal_counts_what_is_taken_back_and_what_is_restored():
    # 3 removed and 3 restored of 6
    assert reversal_ratio("old_name = 1\n", "new_name = 1\n", "old_name = 1\n") == 1
    # a pure extension by er
    assert reversal_ratio("old_name = 1\n", "new_name = 1\n", "newer_name = 1\n") == 0
    assert reversal_ratio(None, "a\n", "b\n") == 0
    assert reversal_ratio("a\n", "b\n", "b\n") == 0
    # of 2 characters removed and 2 added, x -> y is undone and b -> c is new
    assert reversal_ratio("x = b\n", "y = b\n", "x = c\n") == pytest.approx(2 / 4)


def test_exact_lines_are_counted_with_their_sign():
    assert exact_lines("a\n", "b\nd\n", "b\nc\n") == LineCounts(right=2, wrong=1, missed=1)
    assert exact_lines("a\n", "b\nd\n", "b\nc\n").f1 == pytest.approx(2 / 3)
    # a removed line that begins with -- is not counted
    assert exact_lines("-- a\nb\n", "b\n", "b\n") == LineCounts(0, 0, 0)
    assert LineCounts(0, 0, 0).f1 == 0


def test_an_answer_that_loses_the_top_of_the_region_is_of_another_region():
    lines = "a\nb\nc\nd\n"
    assert is_wrong_region(lines, "d\n") is True
    assert is_wrong_region(lines, "c\nd\n") is False
    assert is_wrong_region(lines, lines) is None


def test_blank_lines_that_change_alone_are_isolated():
    assert has_isolated_blanks("a\nb\n", "a\n\nb\n")
    assert has_isolated_blanks("a\n\nb\n", "a\nb\n")
    assert not has_isolated_blanks("a\nb\n", "a\n\nc\nb\n")
    # the blank line that the cursor is put on
    assert not has_isolated_blanks("a\nb\n", "a\n\nb\n", cursor=2)
    assert has_isolated_blanks("a\nb\n", "a\n\nb\n", cursor=0)


def test_cursors_are_compared_in_bytes_after_the_edit():
    assert cursor_distance("é = 1\n", 1, "e = 1\n", 0) == 2
    assert cursor_distance("a", None, "a", 0) is None


@given(TEXTS, TEXTS, TEXTS)
def test_measures_stay_in_range(before, prediction, target):
    found = (
        delta_chrf(before, prediction, target),
        *kept(before, prediction, target),
        reversal_ratio(target, before, prediction),
    )
    assert all(0 <= value <= 1 for value in found)
    assert kept(before, target, target) == (1, 1)
    assert exact_lines(before, target, target).f1 in (0, 1)


@given(TEXTS, TEXTS, TEXTS)
def test_precision_of_one_side_is_recall_of_the_other(before, prediction, target):
    agreed, turned = delta_agreement(before, prediction, target), delta_agreement(before, target, prediction)
    assert agreed == (turned.recall, turned.precision)
