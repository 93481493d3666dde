import itertools

from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.reports import diffs
from gapo_cli.reports.diffs import ADDED, REMOVED, SAME, diff_segments


def test_a_changed_word_is_one_removed_and_one_added_segment():
    assert diff_segments("    print(x)\n", "    log(x)\n") == [
        (SAME, "    "),
        (REMOVED, "print"),
        (ADDED, "log"),
        (SAME, "(x)\n"),
    ]


def test_equal_texts_are_one_segment_and_empty_ones_none():
    assert diff_segments("a\n", "a\n") == [(SAME, "a\n")]
    assert diff_segments("", "") == []
    assert diff_segments("", "a") == [(ADDED, "a")]


def test_neighbouring_changes_are_joined():
    assert diff_segments("a b", "c-d") == [(REMOVED, "a b"), (ADDED, "c-d")]


def test_very_long_texts_are_not_compared(monkeypatch):
    monkeypatch.setattr(diffs, "LONGEST", 4)
    assert diff_segments("a b c", "a b d") == [(REMOVED, "a b c"), (ADDED, "a b d")]


@given(*[st.text(st.sampled_from("ab \n(,"), max_size=30)] * 2)
def test_segments_hold_both_texts_and_never_two_of_a_kind_in_a_row(old, new):
    segments = diff_segments(old, new)
    assert "".join(text for kind, text in segments if kind != ADDED) == old
    assert "".join(text for kind, text in segments if kind != REMOVED) == new
    assert all(first[0] != second[0] for first, second in itertools.pairwise(segments))
    assert all(text for _, text in segments)
