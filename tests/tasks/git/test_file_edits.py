import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.tasks.git.file_edits import EditedFile, LineChange, decode_lines, has_mixed_line_ends, join_changes, new_file_hunk


def edited(old: list[str], new: list[str], join: int) -> EditedFile:
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changes = [LineChange(a, b, tuple(new[c:d])) for tag, a, b, c, d in blocks if tag != "equal"]
    return EditedFile("x.py", tuple(old), join_changes(old, changes, join))


def patched(lines: list[str], hunk: str) -> list[str]:
    """Applies a hunk the plain way, checking its header and every context and removed line on the way."""
    header, *rows = hunk.split("\n")[:-1]
    (old, removed), (new, added) = ([int(part) for part in side[1:].split(",")] for side in header.split(" ")[1:3])
    start = old - (removed > 0)
    assert start == new - (added > 0)
    kept = [row[1:] for row in rows if row[0] != "+"]
    assert lines[start : start + removed] == kept and len(kept) == removed
    made = [row[1:] for row in rows if row[0] != "-"]
    assert len(made) == added
    return [*lines[:start], *made, *lines[start + removed :]]


LINES = st.lists(st.sampled_from(["a", "b", "", " a"]), max_size=14)


@given(LINES, LINES, st.integers(0, 4), st.integers(0, 3))
def test_the_diffs_one_after_the_other_lead_through_every_state_to_the_new_file(old, new, join, context):
    file = edited(old, new, join)
    lines = list(old)
    for index, diff in enumerate(file.diffs(context)):
        assert file.state(index) == lines
        at, edit = file.position(index), file.edits[index]
        assert lines[at : at + edit.end - edit.start] == old[edit.start : edit.end]
        lines = patched(lines, diff)
    assert lines == new == file.state(len(file.edits))


@given(LINES, LINES, st.integers(0, 4))
def test_edits_lie_farther_apart_than_what_is_joined(old, new, join):
    file = edited(old, new, join)
    gaps = [file.unchanged_after(index) for index in range(len(file.edits))]
    assert all(gap > join for gap in gaps[:-1])


def test_a_hunk_shows_the_lines_around_as_they_were_when_it_was_made():
    # b is doubled first; the second edit's context shows that, and the first one's does not show d as D
    file = edited(["a", "b", "c", "d", "e"], ["a", "b", "b", "c", "D", "e"], join=0)
    assert file.diffs(context=3) == [
        "@@ -1,5 +1,6 @@\n a\n b\n+b\n c\n d\n e\n",
        "@@ -2,5 +2,5 @@\n b\n b\n c\n-d\n+D\n e\n",
    ]


def test_a_hunk_without_lines_on_one_side_names_the_line_before():
    assert edited([], ["a"], 0).diffs(3) == ["@@ -0,0 +1,1 @@\n+a\n"]
    assert edited(["a"], [], 0).diffs(3) == ["@@ -1,1 +0,0 @@\n-a\n"]
    assert new_file_hunk(["a", "b"]) == "@@ -0,0 +1,2 @@\n+a\n+b\n"


def test_neighbouring_changes_are_one_edit_with_the_lines_between_them():
    old, new = ["a", "b", "c", "d"], ["A", "b", "c", "D"]
    (edit,) = edited(old, new, join=2).edits
    assert edit.rows == ("-a", "+A", " b", " c", "-d", "+D")
    assert edit.replacement == ("A", "b", "c", "D")
    assert len(edited(old, new, join=1).edits) == 2


@pytest.mark.parametrize(
    ("old", "new", "kind", "blank"),
    [
        (["a"], ["a", "b"], "insert", False),
        (["a", "b"], ["a"], "delete", False),
        (["a b"], ["c"], "replace", False),
        (["a b"], ["\ta  b"], "replace", True),
        (["f(a, b)"], ["f(a,", "  b)"], "replace", True),
        (["a"], ["a", ""], "insert", True),
    ],
)
def test_an_edit_knows_its_kind_and_whether_only_blanks_changed(old, new, kind, blank):
    (edit,) = edited(old, new, 0).edits
    assert (edit.kind, edit.is_whitespace_only) == (kind, blank)


def test_only_line_feeds_end_lines_and_carriage_returns_before_them_belong_to_them():
    assert decode_lines(b"a\r\nb\n\nc") == ["a", "b", "", "c"]
    assert decode_lines("a\u2028b\x0cc\rd\n".encode()) == ["a\u2028b\x0cc\rd"]
    assert decode_lines(b"") == []
    assert decode_lines(b"\n") == [""]
    assert decode_lines(b"\xef\xbb\xbfa\n") == ["a"]
    assert decode_lines(b"a\n\r") == ["a", ""]


def test_line_ends_are_mixed_where_some_lines_have_carriage_returns_and_some_do_not():
    assert has_mixed_line_ends(b"a\r\nb\n")
    assert not has_mixed_line_ends(b"a\r\nb\r\n")
    assert not has_mixed_line_ends(b"a\nb\rc\n")
