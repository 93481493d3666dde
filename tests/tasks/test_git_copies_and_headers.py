"""What mining makes of mirrored folders, of headers, and of extensions that it does not know."""

from dataclasses import replace

import pytest
from git_parts import Repository, numbered
from parts import edit_task

from gapo_cli.errors import UserError
from gapo_cli.records import HistoryEvent
from gapo_cli.tasks.git_history import GitHistory
from gapo_cli.tasks.languages import header_language, language_of


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "work")


def mine(repository: Repository, **options):
    return GitHistory(repo=str(repository.folder), name="r", shares=(1, 0, 0), **options).build()


def paths_of(found):
    return {task.path for task in found.splits["train"]} | {
        event.path for task in found.splits["train"] for event in task.history
    }


def write_both(repository: Repository, subject: str, **lines: str) -> None:
    """A file and its mirror, which differs in its first line."""
    repository.write("src/a.py", "import b\n" + numbered(40, **lines))
    repository.write("deno/lib/a.py", "import b.py\n" + numbered(40, **lines))
    repository.commit(subject)


def test_a_mirrored_folder_is_left_out_and_named(repository):
    write_both(repository, "start")
    write_both(repository, "use size", L5="size = 5", L30="line_30 = size")
    found = mine(repository)
    assert paths_of(found) == {"src/a.py"}
    assert found.report["files"] == {"edited": 1, "mirrored": 1}
    assert found.report["mirrored"] == {"deno/lib": 1}
    assert any(
        "1 changed files are copies" in note and "data.source.exclude=[deno/lib/*]" in note for note in found.report["notes"]
    )
    excluded = mine(repository, exclude=("deno/lib/*",))
    assert excluded.report["mirrored"] == {}
    assert excluded.splits == found.splits


def test_files_of_one_name_that_differ_are_mined(repository):
    repository.commit(a__x_py=numbered(40), b__x_py=numbered(9).replace("line", "row") + numbered(30))
    repository.commit(
        a__x_py=numbered(40, L5="size = 5"), b__x_py=numbered(9).replace("line", "row") + numbered(30, L20="line_20 = size")
    )
    found = mine(repository)
    assert "mirrored" not in found.report["files"]
    assert paths_of(found) == {"a/x.py", "b/x.py"}


def write_headers(repository: Repository, extension: str) -> None:
    for lines in ({}, {"L5": "size = 5", "L30": "line_30 = size"}):
        repository.write("a.h", numbered(40, **lines))
        repository.write(f"main.{extension}", "int main;\n")
        repository.write("notes.qqq", str(lines))
        repository.commit()


@pytest.mark.parametrize(("extension", "language"), [("cc", "cpp"), ("c", "c")])
def test_a_header_has_the_language_of_the_repositorys_other_files(repository, extension, language):
    write_headers(repository, extension)
    found = mine(repository)
    assert [task.language for task in found.splits["train"]] == [language]
    assert found.report["header_language"] == language
    assert len(mine(repository, languages=(language,)).splits["train"]) == 1


def test_the_language_of_headers_can_be_said(repository):
    write_headers(repository, "cc")
    assert [task.language for task in mine(repository, header_language="c").splits["train"]] == ["c"]
    with pytest.raises(UserError, match="data.source.header_language=d"):
        mine(repository, header_language="d")


def test_unknown_extensions_are_listed_with_their_counts(repository):
    write_headers(repository, "c")
    found = mine(repository)
    assert found.report["unknown_extensions"] == {"qqq": 1}
    assert "extensions of no known language, by changed files: .qqq 1" in found.report["notes"]


def test_headers_alone_are_c_and_a_tie_is_c():
    assert header_language(["a.h", "b.h"]) == "c"
    assert header_language(["a.h", "b.cc", "c.c"]) == "c"
    assert header_language(["a.h", "b.hpp", "x.py"]) == "cpp"
    assert (language_of("x/A.H"), language_of("x/A.H", "cpp"), language_of("a.c", "cpp")) == ("c", "cpp", "c")


def with_edit(region, target, *diffs):
    task = replace(edit_task(0), excerpt=region, editable=(0, len(region)), target=target, cursor=None, cursor_after=None)
    return replace(task, history=tuple(HistoryEvent("edit", "a.py", diff) for diff in diffs))


def test_a_task_whose_added_lines_its_history_adds_is_copied_from_history():
    told = "@@ -1,1 +1,2 @@\n a\n+  new = 1\n+b\n"
    assert with_edit("x\n", "x\nnew = 1\n", told).copied_from_history
    assert with_edit("x\n", "new = 1\nb\n", told).copied_from_history
    assert not with_edit("x\n", "x\nnew = 1\nother\n", told).copied_from_history
    assert not with_edit("x\n", "x\na\n", told).copied_from_history  # shown, and not added
    assert not with_edit("x\ny\n", "x\n", told).copied_from_history  # adds nothing
    assert not with_edit("new = 1\n", "new = 1\nnew = 1\n").copied_from_history
