import difflib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gapo_cli.errors import DataError
from gapo_cli.tasks.git.diff_hunks import BlobPatch, Change, read_patches

COMMIT, OLD, NEW = (digit * 40 for digit in "abc")
HEADER = f"{COMMIT}\ndiff --git a/x b/x\nindex {OLD}..{NEW} 100644\n--- a/x\n+++ b/x\n"


def read(text: str | bytes) -> list[tuple[str, list[BlobPatch]]]:
    return list(read_patches((text.encode() if isinstance(text, str) else text).splitlines(keepends=True)))


def applied(lines: list[bytes], changes: tuple[Change, ...]) -> list[bytes]:
    made, position = [], 0
    for change in changes:
        made += [*lines[position : change.start], *change.added]
        position = change.end
    return made + lines[position:]


def test_line_numbers_are_turned_into_places_from_zero():
    # replaces line 3, adds two lines after line 7, removes lines 9 and 10
    body = "@@ -3 +3 @@ def f():\n-a\n+b\n@@ -7,0 +8,2 @@\n+c\n+d\n@@ -9,2 +11,0 @@\n-e\n-f\n"
    changes = (Change(2, 1, (b"b",)), Change(7, 0, (b"c", b"d")), Change(8, 2, ()))
    assert read(HEADER + body) == [(COMMIT, [BlobPatch(OLD, NEW, changes)])]


def test_lines_added_at_the_top_come_before_the_first_line():
    assert read(HEADER + "@@ -0,0 +1 @@\n+a\n")[0][1][0].changes == (Change(0, 0, (b"a",)),)


def test_content_that_looks_like_headers_stays_content():
    lines = [
        f"{COMMIT}",
        "diff --git a/y b/y",
        f"index {OLD}..{NEW}",
        "@@ -1 +1 @@",
        "--- a/x",
        "+++ b/x",
        "\\ No newline at end of file",
        "",
    ]
    removed, added = "".join(f"-{line}\n" for line in lines), "".join(f"+{line}\n" for line in lines)
    ((_, (patch,)),) = read(HEADER + f"@@ -1,8 +1,8 @@\n{removed}{added}")
    assert patch.changes == (Change(0, 8, tuple(line.encode() for line in lines)),)


def test_a_missing_newline_at_the_end_is_not_a_line():
    mark = "\\ No newline at end of file\n"
    after = f"{'d' * 40}\ndiff --git a/y b/y\nold mode 100644\nnew mode 100755\n"
    found = read(HEADER + f"@@ -4 +4 @@\n-a\n{mark}+b\n{mark}" + after)
    assert found == [(COMMIT, [BlobPatch(OLD, NEW, (Change(3, 1, (b"b",)),))]), ("d" * 40, [])]


def test_a_binary_file_has_no_changes_and_says_so():
    text = f"{COMMIT}\ndiff --git a/x b/x\nindex {OLD}..{NEW} 100644\nBinary files a/x and b/x differ\n"
    assert read(text) == [(COMMIT, [BlobPatch(OLD, NEW, (), binary=True)])]


def test_a_renamed_file_that_was_edited_has_changes_and_one_that_was_not_has_no_patch():
    pure = "diff --git a/u b/v\nsimilarity index 100%\nrename from u\nrename to v\n"
    named = "diff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to y\n"
    edited = f"{named}index {OLD}..{NEW} 100644\n--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n"
    assert read(f"{COMMIT}\n{pure}{edited}") == [(COMMIT, [BlobPatch(OLD, NEW, (Change(0, 1, (b"b",)),))])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "line 1: need a commit id .* got 'hello'"),
        ("diff --git a/x b/x\n", "line 1: need a commit id"),
        (f"{COMMIT}\ndiff --git a/x b/x\n@@ -1 +1 @@\n-a\n+b\n", "line 3: need the ids of the two blobs"),
        (HEADER + "@@ -1,2 +1 @@\n-a\n+b\n", "line 9: need 1 more removed and 0 more added lines"),
        (HEADER + "@@ -1 +1 @@\n a\n", "line 7: need 1 more removed and 1 more added lines, got ' a'"),
        (HEADER + "@@ -5 +5 @@\n-a\n+b\n@@ -4 +4 @@\n-a\n+b\n", "need a hunk after the one before it"),
        (HEADER + "@@ -0 +0 @@\n-a\n+b\n", "need a hunk after the one before it"),
        (HEADER + "@@ -1 +1 @@\n-a\n+b\n+c\n", "line 9: need a commit id or the start of a file's patch"),
    ],
)
def test_what_no_patch_can_hold_is_named_with_its_line(text, message):
    with pytest.raises(DataError, match=message):
        read(text)


LINES = st.lists(st.sampled_from([b"a", b"b", b"", b"-x", b"+y", b"\\ z", b"@@ -1 +1 @@", b"\r", "ä".encode()]), max_size=12)


@given(LINES, LINES)
def test_the_changes_of_any_two_files_turn_one_into_the_other(old, new):
    rows = list(difflib.diff_bytes(difflib.unified_diff, old, new, n=0, lineterm=b""))[2:]
    found = read(HEADER.encode() + b"".join(row + b"\n" for row in rows))
    assert applied(old, found[0][1][0].changes) == new


PIECES = st.sampled_from([
    COMMIT.encode(), b"diff --git a/x b/x", f"index {OLD}..{NEW}".encode(), b"--- a/x", b"+++ b/x", b"@@ -1 +1 @@",
    b"@@ -0,0 +1,2 @@", b"@@ -1,999999999 +1,999999999 @@", b"-a", b"+b", b" c", b"\\ No newline at end of file",
    b"Binary files differ", b"",
])  # fmt: skip


@given(st.one_of(st.binary(), st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=14).map(b"\n".join)))
@example(HEADER.encode())
def test_any_bytes_give_patches_or_the_documented_error(content):
    try:
        found = read(content)
    except DataError as error:
        assert "git's patch, line " in str(error)
    else:
        assert all(change.removed or change.added for _, patches in found for patch in patches for change in patch.changes)
