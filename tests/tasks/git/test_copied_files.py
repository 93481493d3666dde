"""Which file is a copy of which: by lines, then by age and depth."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.tasks.git.copied_files import CopiedFiles, alike, mirrored_folder
from gapo_cli.tasks.git.git_reader import FileChange

BODY = b"".join(b"line %d\n" % number for number in range(20))


def change(status, path, blob, old_path=None):
    return FileChange(status, "100644", "100644", "old", blob, (old_path or path).encode(), path.encode())


def files_of(*commits, blobs):
    found = CopiedFiles(blobs.get)
    for changes in commits:
        found.follow(changes, lambda change: True)
    return found


def test_the_deeper_of_two_old_copies_is_the_copy():
    files = files_of([change("M", "deno/lib/a.ts", "1"), change("M", "src/a.ts", "2")], blobs={"1": BODY, "2": BODY})
    assert files.is_copy(b"deno/lib/a.ts")
    assert not files.is_copy(b"src/a.ts")
    assert files.folders == {"deno/lib": 1}


def test_the_later_of_two_copies_is_the_copy_wherever_it_lies():
    added, later = [change("A", "deep/down/here/a.ts", "1")], [change("A", "a.ts", "2")]
    files = files_of(added, later, blobs={"1": BODY, "2": BODY})
    assert files.is_copy(b"a.ts")
    assert not files.is_copy(b"deep/down/here/a.ts")


def test_a_copy_that_is_made_again_after_its_original_changed_is_one():
    blobs = {"1": BODY, "2": BODY, "3": BODY + b"more\n", "4": BODY + b"more\n"}
    both = [change("M", "lib/x/a.ts", "1"), change("M", "src/a.ts", "2")]
    files = files_of(both, [change("M", "src/a.ts", "3")], [change("M", "lib/x/a.ts", "4")], blobs=blobs)
    assert files.is_copy(b"lib/x/a.ts")


def test_a_renamed_file_keeps_its_age_and_a_deleted_one_is_no_original():
    blobs = {"1": BODY, "2": BODY}
    files = files_of(
        [change("A", "a.ts", "1")], [change("A", "b/a.ts", "2")], [change("R", "c/d/e/a.ts", "1", "a.ts")], blobs=blobs
    )
    assert files.is_copy(b"b/a.ts")
    files = files_of([change("A", "a.ts", "1")], [change("A", "b/a.ts", "2")], [change("D", "a.ts", "0")], blobs=blobs)
    assert not files.is_copy(b"b/a.ts")


def test_short_files_and_files_that_differ_in_a_tenth_of_their_lines_are_no_copies():
    lines = [b"line %d" % number for number in range(20)]
    assert not alike(Counter(lines[:7]), Counter(lines[:7]))
    assert alike(Counter(lines), Counter([*lines[:18], b"x", b"y"]))  # 18 of 20
    assert not alike(Counter(lines), Counter([*lines[:17], b"x", b"y", b"z"]))


@given(st.lists(st.sampled_from("abcdef"), max_size=30), st.lists(st.sampled_from("abcdef"), max_size=30))
def test_being_alike_has_no_direction(first, second):
    assert alike(Counter(first), Counter(second)) == alike(Counter(second), Counter(first))


def test_a_folder_is_a_mirror_where_most_of_its_changed_files_are_copies():
    blobs = {"1": BODY, "2": BODY, "3": BODY.replace(b"line", b"other")}
    files = files_of(
        [change("M", path, blob) for path, blob in (("lib/x/a.ts", "1"), ("src/a.ts", "2"), ("lib/x/b.ts", "3"))], blobs=blobs
    )
    assert files.is_copy(b"lib/x/a.ts")
    assert files.mirrors() == [("lib/x", 1)]
    assert not files.is_copy(b"lib/x/b.ts")
    assert files.mirrors() == []


def test_the_folder_that_mirrors_is_the_path_without_the_common_end():
    assert mirrored_folder(b"deno/lib/helpers/util.ts", b"src/helpers/util.ts") == "deno/lib"
    assert mirrored_folder(b"a.ts", b"src/a.ts") == ""
