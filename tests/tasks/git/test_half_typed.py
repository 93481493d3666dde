"""Where a line is cut that is half typed."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.tasks.git.file_edits import Edit
from gapo_cli.tasks.git.half_typed import half_typed, weight

LINES = st.text("ab =(", max_size=10)


def edit(*rows: str) -> Edit:
    return Edit(0, sum(row[0] != "+" for row in rows), tuple(row[1:] for row in rows if row[0] != "-"), rows)


def test_people_pause_behind_words_and_signs_rather_than_inside_words():
    line = "call(first, x.y)"
    weights = {line[:place]: weight(line, place) for place in range(1, len(line))}
    assert weights["c"] == 1 and weights["call"] == 8 and weights["call("] == 10
    assert weights["call(first,"] == 10 and weights["call(first, "] == 6 and weights["call(first, x."] == 5
    assert weight("a)b", 2) == 8 and weight('a"b', 2) == 3


def test_an_edit_that_writes_no_line_or_no_cuttable_one_is_not_begun():
    for rows in (("-a",), ("-ab", "+a"), ("-a", "+b"), ("-a", " b", "+c"), ("+   x",)):
        assert half_typed(edit(*rows), random.Random(0)) is None


@given(LINES, LINES, st.integers(0, 99))
def test_what_is_typed_begins_the_new_line_and_is_neither_it_nor_the_old_one(old, new, seed):
    half = half_typed(edit(f"-{old}", f"+{new}"), random.Random(seed))
    if half is not None:
        assert new.startswith(half.text) and half.text not in (old, new) and half.text.strip() and half.removed == 1
