"""The reader of unified diffs: headers, stripped blanks, and lines that look like headers."""

import pytest

from gapo_cli.edits.diffs import hunks_of, sides_of

HUNK = [(" ", "a"), ("-", "b"), ("+", "c")]


@pytest.mark.parametrize(
    "diff",
    [
        " a\n-b\n+c\n",  # the body alone
        "@@ -1,2 +1,2 @@\n a\n-b\n+c",
        "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@ def f():\n a\n-b\n+c\n",
        "--- a/x.py\n+++ b/x.py\n a\n-b\n+c\n",
        "diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n",
        "@@ -1,2 +1,2 @@\na\n-b\n+c\n",  # the blank before the context was stripped, as some rows of zeta have it
        "@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\ No newline at end of file\n",
        "@@ -1,2 +1,2 @@\n a\n-b\n+c\n@@ -9,1 +9,1 @@\n only context\n",
    ],
)
def test_however_it_is_framed_the_hunk_is_the_same(diff):
    assert hunks_of(diff) == [HUNK]


def test_the_header_of_another_file_is_no_part_of_the_hunk_before_it():
    one = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    assert hunks_of(one + one) == [HUNK, HUNK]


def test_lines_that_look_like_a_header_inside_a_hunk_are_lines():
    diff = "--- a\n+++ b\n@@ -1 +1 @@\n--- x\n+++ y\n\\ No newline at end of file\n"
    assert hunks_of(diff) == [[("-", "-- x"), ("+", "++ y")]]


def test_an_empty_line_is_a_blank_context_line_and_the_last_line_break_is_none():
    assert hunks_of("@@ -1,3 +1,3 @@\n-a\n+b\n\n c\n") == [[("-", "a"), ("+", "b"), (" ", ""), (" ", "c")]]
    assert hunks_of("") == []


def test_context_stands_on_both_sides():
    assert sides_of(HUNK) == (["a", "b"], ["a", "c"])
