"""Patches read as people write them, applied by their text, written and read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.edits.patches import apply_hunks, diff_hunks, read_patch, write_patch
from gapo_cli.errors import DataError

TEXTS = st.text("ab\n", max_size=24)
HEAD = "--- a/a.py\n+++ b/a.py\n"


def apply(text, patch):
    return apply_hunks(text, read_patch(patch))


def test_wrong_line_counts_do_not_matter():
    patch = HEAD + "@@ -90,15 +90,2 @@\n one\n-two\n+2\n"
    assert apply("zero\none\ntwo\n", patch).text == "zero\none\n2\n"
    assert apply("zero\none\ntwo\n", patch.replace("@@ -90,15 +90,2 @@", "@@ ... @@")).text == "zero\none\n2\n"


def test_a_wholly_empty_line_is_context_or_the_end_of_the_text():
    assert apply("a\n\nb\n", HEAD + "@@ -1 +1 @@\n a\n\n-b\n+c\n").text == "a\n\nc\n"
    assert apply("a\nb", HEAD + "@@ -1 +1 @@\n a\n-b\n+c\n\n\n").text == "a\nc"


def test_the_header_chooses_between_equal_places_and_none_is_an_error():
    text = "x\ny\nx\n"
    assert apply(text, HEAD + "@@ -3 +3 @@\n-x\n+z\n").text == "x\ny\nz\n"
    with pytest.raises(DataError, match="hunk 1 does not apply: its context stands in 2 places"):
        apply(text, HEAD + "@@ -9 +9 @@\n-x\n+z\n")
    with pytest.raises(DataError, match="hunk 1 does not apply: its context, which begins with 'q', is not in the text"):
        apply(text, HEAD + "@@ -1 +1 @@\n-q\n+z\n")


def test_both_forms_of_the_cursor_after_the_edit_are_read():
    # 9 bytes of the first line and 11 of the second: 20
    new = HEAD + "@@ -1,2 +1,2 @@\n def f():\n-    pass\n+    return <|user_cursor|>None\n"
    old = HEAD + "@@ -1,2 +1,2 @@\n def f():\n-    pass\n+    return None\n#           ^[CURSOR_POSITION]\n"
    for patch in (new, old):
        done = apply("def f():\n    pass\n", patch)
        assert (done.text, done.cursor) == ("def f():\n    return None\n", 20)
    start = HEAD + "@@ -1 +1 @@\n-a\n+b\n# <[CURSOR_POSITION]\n"
    assert apply("a\n", start).cursor == 0


def test_the_columns_of_the_older_form_are_bytes():
    # é has two: column 3 in bytes is character 2
    assert apply("a\n", HEAD + "@@ -1 +1 @@\n-a\n+éx=1\n#   ^[CURSOR_POSITION]\n").cursor == 2


def test_lines_after_an_older_cursor_line_are_not_lost():
    patch = HEAD + "@@ -1,2 +1,2 @@\n-a\n+A\n# ^[CURSOR_POSITION]\n-b\n+B\n"
    assert apply("a\nb\n", patch).text == "A\nB\n"


def test_a_removed_line_that_looks_like_a_file_header_is_a_removed_line():
    assert apply("-- note\nx\n", HEAD + "@@ -1,2 +1 @@\n--- note\n x\n").text == "x\n"


def test_what_is_no_part_of_a_patch_is_named():
    with pytest.raises(DataError, match="line 5 belongs to no patch: 'what is this'"):
        read_patch(HEAD + "@@ -1 +1 @@\n-a\nwhat is this\n")
    grouped = "////\n// rename it\n////\n" + HEAD + "@@ -1 +1 @@\n-a\n+b\n"
    assert len(read_patch(f"diff --git a/a.py b/a.py\nindex 1..2 100644\n{grouped}")) == 1


def test_a_cursor_moves_with_what_later_hunks_add_above_it():
    patch = HEAD + "@@ -3 +3 @@\n-c\n+c<|user_cursor|>c\n@@ -1 +1 @@\n a\n+aa\n"
    done = apply("a\nb\nc\n", patch)
    assert done.text == "a\naa\nb\ncc\n" and done.cursor == len("a\naa\nb\nc")


def test_a_missing_line_end_is_written_and_read():
    assert diff_hunks("a\nb", "a\nb\n") == "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"


@given(TEXTS, TEXTS)
def test_a_written_patch_makes_of_the_one_text_the_other(before, after):
    assert apply(before, write_patch("a.py", before, after)).text == after


@given(TEXTS, TEXTS, st.integers(0, 24))
def test_a_cursor_is_written_where_its_line_is_added_or_not_at_all(before, after, cursor):
    cursor = min(cursor, len(after))
    done = apply(before, write_patch("a.py", before, after, cursor))
    assert done.text == after and done.cursor in (None, cursor)
