"""gapo prepare as a stage: a task set is built once and checked each time."""

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from parts import Listening, small_task

from gapo_cli.config.data import DataConfig
from gapo_cli.errors import DataError, PartError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.records import TaskSet
from gapo_cli.tasks.sets.prepared import load_tasks, prepare


@dataclass
class Counting:
    """A source of `train` and one `eval` task that counts how often it is built."""

    train: int = 10
    built: int = 0
    leak: bool = False

    def fingerprint(self):
        return {"train": self.train, "leak": self.leak}

    def build(self, progress):
        self.built += 1
        splits = {"train": tuple(small_task(f"t{number}", target=f"new{number}\n") for number in range(self.train))}
        return TaskSet(splits | {"eval": (small_task("e", target="new0\n" if self.leak else "other\n"),), "dev": ()})


def experiment(tmp_path, source=None, limit=None):
    data = DataConfig(name="made", directory=tmp_path, limit=limit)
    return SimpleNamespace(data=data, source=source or Counting())


class Failing(Counting):
    """`given`: what it gives, or raises where that is an exception."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def build(self, progress):
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ZeroDivisionError("no rows"), r"raised ZeroDivisionError: no rows \(at .*test_prepared.py:\d+ in build\)"),
        ([], "gives list; need gapo_cli.records.TaskSet"),
        (TaskSet({"train": 3}), "gives int for split train; need a tuple"),
        (
            TaskSet({"train": (small_task("a"), small_task("b"), small_task("a"))}),
            "gives in split train 1 ids more than once, as 'a'",
        ),
        (TaskSet({"train": ({"id": "a"},)}), "gives dict in split train; need gapo_cli.records.EditTask"),
    ],
)
def test_a_source_that_fails_is_named_with_what_it_gives(tmp_path, given, said):
    with pytest.raises(PartError, match=f"^data=made: data.source=Failing: {said}"):
        prepare(experiment(tmp_path, Failing(given)), QuietDisplay())


def test_a_set_is_built_once_and_lies_under_its_name_and_fingerprint(tmp_path):
    run = experiment(tmp_path)
    first, second = prepare(run, QuietDisplay()), prepare(run, QuietDisplay())
    assert (first.built, second.built, run.source.built) == (True, False, 1)
    assert first.folder == second.folder
    assert first.folder.name.startswith("made-")
    assert len(first.folder.name) == len("made-") + 8
    assert first.manifest["fingerprint"] == {"train": 10, "leak": False}


def test_another_fingerprint_is_another_folder(tmp_path):
    assert (
        prepare(experiment(tmp_path), QuietDisplay()).folder
        != prepare(experiment(tmp_path, Counting(train=3)), QuietDisplay()).folder
    )


def test_a_damaged_set_is_named_and_built_again(tmp_path):
    run, display = experiment(tmp_path), Listening()
    folder = prepare(run, display).folder
    (folder / "train.jsonl").write_text("")
    assert prepare(run, display).built
    assert any("train.jsonl: damaged" in line and "again" in line for line in display.said)
    assert len(load_tasks(run, "train", display)) == 10


def test_a_set_of_an_older_version_is_named_and_built_again(tmp_path):
    run, display = experiment(tmp_path), Listening()
    folder = prepare(run, display).folder
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["format"], manifest["repeats"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert prepare(run, display).built
    assert any("another version of gapo" in line and line.endswith("building the task set again") for line in display.said)
    assert not prepare(run, display).built


def test_an_edit_on_both_sides_is_told_and_counted(tmp_path):
    display = Listening()
    prepared = prepare(experiment(tmp_path, Counting(leak=True)), display)
    assert "1 task of eval with an edit that train has word for word (e repeats t0)" in display.said
    assert [pair["exact"] for pair in prepared.manifest["overlaps"]] == [1, 0, 0]


def test_a_limit_is_spread_evenly_over_the_split(tmp_path):
    run = experiment(tmp_path, limit=4)
    # places 0, 10/4, 20/4, 30/4 of ten, rounded down
    assert [task.id for task in load_tasks(run, "train", QuietDisplay())] == ["t0", "t2", "t5", "t7"]
    assert [task.id for task in load_tasks(run, "eval", QuietDisplay())] == ["e"]


def test_an_empty_or_unknown_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="split 'dev' has no tasks; splits with tasks: train, eval"):
        load_tasks(experiment(tmp_path), "dev", QuietDisplay())
    with pytest.raises(DataError, match="no split 'tets'"):
        load_tasks(experiment(tmp_path), "tets", QuietDisplay())


def test_a_source_without_any_task_is_refused_and_leaves_nothing(tmp_path):
    class Empty(Counting):
        def build(self, progress):
            return TaskSet({"train": (), "eval": ()})

    run = experiment(tmp_path / "data", Empty())
    with pytest.raises(DataError, match="data=made: the source gave no task at all"):
        prepare(run, QuietDisplay())
    assert not list((tmp_path / "data").glob("*"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": None}, "train a task that cannot be kept, id 't'"),
        ({"target": "a\ud800"}, "surrogates not allowed"),
        ({"editable": (0.0, 1.0)}, "train a task that cannot be kept, id 't'"),
        ({"history": ("diff",)}, "train a task that cannot be kept, id 't'"),
        ({"source": "mine"}, "train a task that cannot be kept, id 't'"),
        ({"raw": {"a": object()}}, "is not JSON serializable"),
    ],
)
def test_a_task_of_a_users_source_that_no_file_can_hold_is_named(changed, said, tmp_path):
    with pytest.raises(PartError) as caught:
        prepare(experiment(tmp_path, Failing(TaskSet({"train": (replace(small_task("t"), **changed),)}))), QuietDisplay())
    assert str(caught.value).startswith("data=made: data.source=Failing: gives in split ")
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("report", [None, {"a": object()}, {"notes": [5]}, {"notes": "abc"}])
def test_a_report_of_a_users_source_that_no_file_can_hold_is_refused(report, tmp_path):
    with pytest.raises(PartError, match="data.source=Failing: gives a report"):
        prepare(experiment(tmp_path, Failing(TaskSet({"train": (small_task("t"),)}, report))), QuietDisplay())


def test_a_fingerprint_that_is_no_dict_for_json_is_refused(tmp_path):
    source = Counting()
    source.fingerprint = lambda: None
    with pytest.raises(PartError, match="data.source=Counting: fingerprint gives NoneType; need a dict"):
        prepare(experiment(tmp_path, source), QuietDisplay())
    source.fingerprint = lambda: {"made by": object()}
    with pytest.raises(PartError, match="data.source=Counting: its fingerprint holds what JSON cannot .*object"):
        prepare(experiment(tmp_path, source), QuietDisplay())
