"""Excerpts of other files beside a mined task, as they stood before its commit."""

import os
import subprocess
import sys

import pytest
from git_parts import Repository, numbered

from gapo_cli.interfaces import no_progress
from gapo_cli.tasks.git_history import GitHistory

USER = "from tools import trim\n\n" + numbered(30)
TOOLS = numbered(40, L20="def trim(size):", L21="    return size").replace("line_", "field_")


def mine(folder, **settings):
    settings = {"name": "r", "shares": (1, 0, 0), "margin": (1, 1), "max_new_words": 1.0} | settings
    return GitHistory(repo=str(folder), **settings).build(no_progress)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "work")


def rename(text: str) -> str:
    return text.replace("line_5 = 5", "trim(5)").replace("line_25 = 25", "trim(25)")


def test_a_file_that_is_imported_is_shown_where_it_speaks_of_the_same(repository):
    repository.commit(user_py=USER, tools_py=TOOLS, other_py=numbered(10))
    repository.commit(user_py=rename(USER))
    found = mine(repository.folder, related_rows=2)
    (task,) = found.splits["train"]
    (hint,) = task.hints
    assert (hint.kind, hint.path, hint.source, hint.order, hint.file_rows) == ("related_file", "tools.py", "import", 0, 40)
    # of the words of the region and its history trim is the rarest
    assert "def trim(size):\n" in hint.text
    assert hint.text == "".join(f"{line}\n" for line in TOOLS.split("\n")[hint.rows[0] : hint.rows[1]])
    assert found.report["related"] == {"tasks with related files": 1, "import": 1}
    assert found.report["kinds"]["train"] == {"near": 1}


def test_an_import_from_above_the_repository_is_none_of_its_files(repository):
    """Git takes REVISION:../PATH as relative to the working folder, and ends."""
    user = '#include "../../lib/tools.h"\n#include "tools.h"\n' + numbered(30)
    repository.commit(**{"user.c": user, "tools.h": TOOLS})
    repository.commit(**{"user.c": rename(user)})
    found = mine(repository.folder, related_rows=2)
    (task,) = found.splits["train"]
    assert [hint.path for hint in task.hints] == ["tools.h"]


def test_files_of_the_same_commit_are_shown_as_they_stood_before_it(repository):
    repository.commit(user_py=USER, tools_py=TOOLS, third_py=numbered(9, L2="trim = 1"))
    after = TOOLS.replace("def trim(size):", "def trim(size, SECRET):")
    repository.commit(user_py=rename(USER), tools_py=after, third_py=numbered(9, L2="trim = SECRET"))
    tasks = mine(repository.folder).splits["train"]
    hints = [hint for task in tasks for hint in task.hints]
    assert {hint.source for hint in hints} == {"commit", "imported_by"}
    # user.py imports tools.py: for a task in tools.py it is more than a companion
    assert {hint.path for task in tasks if task.path == "tools.py" for hint in task.hints if hint.source == "imported_by"} == {
        "user.py"
    }
    assert not any("SECRET" in hint.text for hint in hints)
    assert not any(hint.path == task.path for task in tasks for hint in task.hints)


def test_what_the_commit_added_or_does_not_touch_the_task_is_not_related(repository):
    repository.commit(user_py=numbered(40), zebra_py="alpha = beta\n" * 9)
    repository.commit(
        user_py=numbered(40, L5="size = 5", L30="line_30 = size"), zebra_py="alpha = gamma\n" * 9, new_py="line_30 = size\n"
    )
    assert [task.hints for task in mine(repository.folder).splits["train"] if task.path == "user.py"] == [(), ()]


def test_the_budget_holds_and_none_is_none(repository):
    repository.commit(user_py=USER, tools_py=TOOLS)
    repository.commit(user_py=rename(USER))
    (task,) = mine(repository.folder, related_characters=60).splits["train"]
    assert 0 < sum(len(hint.text) for hint in task.hints) <= 60
    (task,) = mine(repository.folder, related_characters=0).splits["train"]
    assert task.hints == ()


def test_with_files_split_a_task_shows_nothing_of_the_other_sides(repository):
    others = {number: f"from f{(number + 1) % 12} import trim" for number in range(12)}
    files = {f"f{number}_py": numbered(30, L1=others[number], L3="trim = 1") for number in range(12)}
    repository.commit(**files)
    edited = {
        name: text.replace("line_9 = 9", f"trim({name})").replace("line_20 = 20", f"trim({name}, 20)")
        for name, text in files.items()
    }
    repository.commit(**edited)
    source = GitHistory(
        repo=str(repository.folder), name="r", split_by="file", shares=(0.4, 0.2, 0.4), tasks_per_commit=99, max_new_words=1.0
    )
    splits = source.build(no_progress).splits
    homes = {task.path: split for split, tasks in splits.items() for task in tasks}
    assert len(set(homes.values())) > 1 and any(task.hints for tasks in splits.values() for task in tasks)
    for split, tasks in splits.items():
        assert all(source.home_split(hint.path) == split for task in tasks for hint in task.hints)


WEIGHED = """
from types import SimpleNamespace
from gapo_cli.tasks.git.related_files import RelatedFiles, Words

# of each word another number of rows: sums of 1/1, 1/2, ... depend on their order
rows = {f"word_{count}": list(range(count)) for count in range(1, 40)}
finder = object.__new__(RelatedFiles)
finder.words = lambda blob: Words(("line\\n",) * 40, rows)
finder.shape = SimpleNamespace(related_rows=3)
print(finder.excerpt("a.py", "blob", "commit", frozenset(rows)).weight.hex())
"""


def test_what_a_file_weighs_does_not_depend_on_the_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", WEIGHED],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(found) == 1
