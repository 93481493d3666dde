"""gapo export-tasks: a prepared set as example files, and the same set from them."""

import pytest
from parts import edit_task, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.interfaces import no_progress
from gapo_cli.records import TaskSet
from gapo_cli.tasks.sets.store import load_split, save_task_set
from gapo_cli.tasks.zed_examples import ZedExamples


@pytest.fixture
def prepared(tmp_path):
    tasks = {"train": (edit_task(1), edit_task(2, target="a = d\n")), "eval": (edit_task(3, target="a = b\n"),)}
    save_task_set(TaskSet(tasks), tmp_path / "set", {"name": "made"})
    return tmp_path / "set"


@pytest.mark.parametrize("form", ["jsonl", "json", "md"])
def test_an_exported_set_is_read_as_the_same_set(form, prepared, tmp_path):
    target = tmp_path / "examples"
    assert run_command(["export-tasks", str(prepared), str(target), "--form", form, "--quiet"]) == 0
    names = sorted(path.relative_to(target).as_posix() for path in target.rglob(f"*.{form}"))
    assert names[0] == ("eval.jsonl" if form == "jsonl" else f"eval/00000-task-3.{form}")
    read = ZedExamples(str(target)).build(no_progress)
    for split in ("train", "eval"):
        saved = load_split(prepared, split)
        # made by the same helper, so all say split train
        assert [task for task in read.splits["train"] if task in saved] == list(saved)


def test_what_cannot_be_exported_is_said_in_a_sentence(prepared, tmp_path, capsys):
    assert run_command(["export-tasks", str(prepared), str(prepared)]) == 2
    assert "holds files that this command did not write" in capsys.readouterr().err
    assert run_command(["export-tasks", str(tmp_path), str(tmp_path / "new")]) == 2
    assert "manifest.json: missing; `gapo prepare` writes it" in capsys.readouterr().err
    assert run_command(["export-tasks", str(prepared), str(tmp_path / "new"), "--form", "xml"]) == 2
    assert "--form=xml" in capsys.readouterr().err
    assert run_command(["export-tasks", str(prepared), str(tmp_path / "new"), "--split", "test"]) == 2
    assert "has no split 'test'" in capsys.readouterr().err
    assert run_command(["export-tasks", str(prepared), str(tmp_path / "new"), "--repository", "foo"]) == 2
    assert "--repository=foo: need an address such as https://HOST/OWNER/NAME" in capsys.readouterr().err


@pytest.mark.slow
def test_exported_tasks_are_prepared_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tasks(tmp_path / "tasks.jsonl")
    assert run_command(["prepare", "data=jsonl", "data.path=tasks.jsonl", "--quiet"]) == 0
    (folder,) = (tmp_path / "data").glob("jsonl-*")
    assert run_command(["export-tasks", str(folder), "examples", "--quiet"]) == 0
    assert run_command(["prepare", "data=zed", "data.path=examples", "--quiet"]) == 0, capsys.readouterr().err
    (again,) = (tmp_path / "data").glob("zed-*")
    for split in ("train", "eval"):
        assert load_split(again, split) == load_split(folder, split)
