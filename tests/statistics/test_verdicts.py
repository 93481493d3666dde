"""Verdicts in words, and Holm's correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.statistics.verdicts import holm, verdict, verdicts

SURE = [0.05, 0.06, 0.055, 0.052, 0.058]


def test_holm_multiplies_by_what_is_left_and_never_falls():
    # sorted .01, .02, .03, .5: .01*4, .02*3, .03*2, .5*1; running maximum .04, .06, .06, .5
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_no_more_than_uncorrected_and_no_less_than_bonferroni(p_values):
    for corrected, p in zip(holm(p_values), p_values, strict=True):
        assert p <= corrected <= min(1.0, len(p_values) * p) + 1e-12


def test_the_four_verdicts():
    assert verdict(SURE, 0.01).word == "better"
    assert verdict([-value for value in SURE], 0.01).word == "worse"
    assert verdict([0.001, -0.002, 0.0, 0.002, -0.001], 0.01).word == "equal"
    undecided = verdict([0.05, -0.03, 0.02], 0.01)
    assert undecided.word == "undecided"
    assert f"about {undecided.more_seeds} more seeds would decide" in undecided.sentence
    assert f"{undecided.seeds_for_delta} seeds in all show a difference of 0.01 with power 0.8" in undecided.sentence


def test_a_difference_smaller_than_delta_is_equal_and_says_that_it_is_there():
    found = verdict([0.001, 0.0011, 0.0009, 0.001], 0.01)
    assert found.word == "equal"
    assert "a difference is there" in found.sentence


def test_with_one_seed_or_none_it_says_what_cannot_be_said():
    assert "with one seed nothing can be said" in verdict([0.3], 0.01).sentence
    assert "no pair of runs with the same seed" in verdict([], 0.01).sentence


def test_a_sum_that_is_zero_but_for_rounding_is_zero_and_one_point_is_no_points():
    # 0.1 + 0.2 - 0.3 is 5.6e-17
    assert verdict([0.1, 0.2, -0.3], 1.0, " points").sentence.startswith("equal within 1 point: +0 points, 95 % interval ")


def test_several_comparisons_are_corrected_together():
    borderline = [0.01, 0.05, 0.02, 0.035, 0.004]
    alone = verdict(borderline, 0.0)
    assert alone.word == "better"
    among = verdicts({"one": borderline, **{str(number): [0.01, -0.01, 0.02] for number in range(5)}}, 0.0)
    assert among["one"].word == "undecided"
    # the smallest p of six is multiplied by six
    assert among["one"].p == pytest.approx(6 * alone.p)


def test_one_pair_only_takes_no_part_in_the_correction():
    assert verdicts({"one": SURE, "single": [0.1]}, 0.01)["one"].p == verdict(SURE, 0.01).p


def test_equal_differences_are_judged_by_their_signs():
    same = verdict([0.05] * 4, 0.01)
    # 2 of 16 sign patterns: p = 0.125
    assert (same.word, same.p) == ("undecided", pytest.approx(0.125))
    # four of four within the bounds: p = 1/16; five: 1/32
    assert (verdict([0.0] * 4, 0.01).word, verdict([0.0] * 5, 0.01).word) == ("undecided", "equal")


def test_a_negative_delta_is_refused():
    with pytest.raises(ValueError, match="delta=-1: need 0 or more"):
        verdict(np.zeros(3), -1)
