import difflib

import pytest
from library_parts import copy_library

from gapo_cli.errors import DataError, UserError
from gapo_cli.tasks.stdlib import GENERATOR_VERSION, StandardLibrary, hunk, split_of


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    root = tmp_path_factory.mktemp("library") / "root"
    copy_library(root)
    return str(root)


@pytest.fixture(scope="module")
def task_set(library):
    return StandardLibrary(tasks_per_file=2, root=library, shares=(0.5, 0.2, 0.3)).build()


@pytest.mark.slow
def test_whole_top_level_packages_stay_on_one_side(task_set):
    where: dict[str, set[str]] = {}
    for name, tasks in task_set.splits.items():
        for task in tasks:
            where.setdefault(task.path.split("/")[0], set()).add(name)
    assert len(where) > 10
    assert all(len(splits) == 1 for splits in where.values())


def test_an_accelerator_module_goes_where_its_public_one_goes():
    shares = (0.5, 0.2, 0.3)
    assert split_of("_pydecimal.py", shares) == split_of("_pydecimal/x.py", shares)
    assert split_of("_strptime.py", shares) == split_of("strptime.py", shares)


@pytest.mark.slow
def test_no_region_and_target_pair_stands_on_both_sides(task_set):
    pairs = {
        name: {("".join(t.region.split()), "".join(t.target.split())) for t in tasks} for name, tasks in task_set.splits.items()
    }
    assert not pairs["train"] & pairs["eval"]
    assert not pairs["train"] & pairs["dev"]
    assert not pairs["dev"] & pairs["eval"]


@pytest.mark.slow
def test_tasks_change_something_within_whole_lines(task_set):
    for task in task_set.splits["eval"]:
        assert not task.is_noop
        assert task.region.endswith("\n") and task.target.endswith("\n")
        assert task.before == "" or task.before.endswith("\n")
        assert task.editable[0] <= task.cursor[0] <= task.editable[1]
        assert task.history and max(len(task.region), len(task.target)) <= 100


@pytest.mark.slow
def test_building_twice_gives_the_same_tasks_in_the_same_order(task_set, library):
    again = StandardLibrary(tasks_per_file=2, workers=1, root=library, shares=(0.5, 0.2, 0.3)).build()
    assert again.splits == task_set.splits


@pytest.mark.slow
def test_another_seed_gives_other_tasks(task_set, library):
    other = StandardLibrary(tasks_per_file=2, seed=1, root=library, shares=(0.5, 0.2, 0.3)).build()
    assert {task.id for task in other.splits["train"]} & {task.id for task in task_set.splits["train"]}
    assert other.splits["train"] != task_set.splits["train"]


@pytest.mark.slow
def test_a_family_by_itself_gives_the_tasks_that_it_gives_among_others(task_set, library):
    alone = StandardLibrary(tasks_per_file=2, families=("not_in",), root=library, shares=(0.5, 0.2, 0.3)).build()
    among = {task for name in task_set.splits for task in (t.id for t in task_set.splits[name]) if "/not_in/" in task}
    assert {task.id for tasks in alone.splits.values() for task in tasks} >= among
    assert among


def test_fingerprint_depends_on_what_the_tasks_depend_on_and_not_on_the_workers():
    assert StandardLibrary(workers=1).fingerprint() == StandardLibrary(workers=2).fingerprint()
    assert StandardLibrary(seed=1).fingerprint() != StandardLibrary().fingerprint()
    assert StandardLibrary(families=("not_in",)).fingerprint() != StandardLibrary().fingerprint()


def test_prepared_sets_know_which_generator_made_them(monkeypatch):
    before = StandardLibrary().fingerprint()
    monkeypatch.setattr("gapo_cli.tasks.stdlib.GENERATOR_VERSION", GENERATOR_VERSION + 1)
    assert StandardLibrary().fingerprint() != before


def test_what_a_machine_writes_about_itself_gives_no_tasks(tmp_path):
    for name in ("_sysconfigdata__linux_x86_64-linux-gnu.py", "whole.py"):
        (tmp_path / name).write_text("if a is None:\n    b = 1\n" * 100)
    assert StandardLibrary(root=str(tmp_path), workers=1).build().report["files"] == 1


def test_an_unknown_family_is_named_with_those_that_exist():
    with pytest.raises(UserError, match="no family 'notin'; there are .*not_in"):
        StandardLibrary(families=("notin",))


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(UserError, match="three shares that add up to 1"):
        StandardLibrary(shares=shares)


@pytest.mark.parametrize(
    ("before", "after"),
    [("a = 1", "a = 2"), ("def f():", "@d\ndef f():"), ("x = 1\nprint(x)", "x = 1"), ("a\nb\nc", "a\nB\nc")],
)
def test_a_hunk_is_the_unified_diff_that_difflib_makes(before, after):
    expected = list(difflib.unified_diff(before.split("\n"), after.split("\n"), lineterm="", n=9))[3:]
    assert hunk(7, before, after).rstrip("\n").split("\n")[1:] == expected


def test_a_hunk_header_counts_the_lines_of_both_sides():
    assert hunk(7, "x = 1\nprint(x)", "x = 1") == "@@ -7,2 +7,1 @@\n x = 1\n-print(x)\n"


def test_a_folder_without_python_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no Python source"):
        StandardLibrary(root=str(tmp_path)).build()


def test_a_file_that_is_not_python_is_counted_and_passed_over(tmp_path):
    (tmp_path / "broken.py").write_text("def (:\n" * 400)
    (tmp_path / "whole.py").write_text("if a is None:\n    b = 1\n" * 100)
    found = StandardLibrary(root=str(tmp_path), workers=1).build()
    assert found.report["unreadable_files"] == 1
    assert {task.path for tasks in found.splits.values() for task in tasks} == {"whole.py"}
