"""Folders that hold something, by the command line: what is refused, and that nothing in them is touched."""

from pathlib import Path

import pytest
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command

QUOTES = "'"


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    return [*smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder), "data.directory=made", "-q"]


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.slow
def test_no_other_verb_changes_the_folder_of_a_training_run(words, capsys):
    assert run_command(["train", *words, "hydra.run.dir=run"]) == 0
    before = contents("run")
    for verb in ("rollout", "prepare", "eval"):
        assert run_command([verb, *words, "hydra.run.dir=run", "estimator=grpo"]) == 2
        assert capsys.readouterr().err == "gapo: hydra.run.dir=run: holds a run of gapo train; name another folder\n"
    assert contents("run") == before


def test_a_folder_with_checkpoints_and_a_page_of_somebody_else_is_not_touched(words, capsys, monkeypatch):
    monkeypatch.setattr("gapo_cli.launching.launch.build_experiment", lambda *_: pytest.fail("the slow parts came first"))
    Path("mine/checkpoints/step-00080").mkdir(parents=True)
    Path("mine/checkpoints/step-00080/weights").write_text("mine")
    Path("mine/report.html").write_text("mine")
    before = contents("mine")
    assert run_command(["train", *words, "hydra.run.dir=mine"]) == 2
    assert "hydra.run.dir=mine: holds checkpoints/ with step-00080; name another folder\n" in capsys.readouterr().err
    assert run_command(["train", *words, "hydra.run.dir=."]) == 2
    assert "hydra.run.dir=.: holds files that this command did not write (mine, mine.jsonl)" in capsys.readouterr().err
    assert contents("mine") == before
    assert sorted(path.name for path in Path().iterdir()) == ["mine", "mine.jsonl"]


@pytest.mark.parametrize("command", [
    ["train", "hydra.run.dir="], ["sweep", "seed=0,1", "hydra.sweep.dir="], ["train", "resume="],
    ["prepare", "data.directory="], ["train", "stage=sft", "supervised.save_as=''"],
])  # fmt: skip
def test_an_unset_variable_is_answered_before_anything_is_written(command, words, capsys):
    assert run_command([*command, *words]) == 2
    assert (
        f"{command[-1].rstrip(QUOTES)}: is empty (perhaps a variable that is not set); name a folder" in capsys.readouterr().err
    )
    assert [path.name for path in Path().iterdir()] == ["mine.jsonl"]


@pytest.mark.parametrize("command", [
    ["export", "mine.jsonl", ""], ["export-tasks", "mine.jsonl", ""], ["handover", "verl", ""], ["handover", "verl", "--back", ""],
    ["lab", "mine.jsonl", "--output", ""], ["report", "mine.jsonl", "--output", ""], ["plan", "--config-dir", ""],
])  # fmt: skip
def test_an_unset_variable_is_no_folder_of_any_command(command, words, capsys):
    assert run_command(command) == 2
    assert "is empty (perhaps a variable that is not set)" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["mine.jsonl"]


def test_an_empty_folder_stays_where_a_run_comes_to_nothing(words, capsys):
    Path("empty").mkdir()
    assert run_command(["train", *words, "model.path=nowhere/at/all", "hydra.run.dir=empty"]) == 2
    assert "model.path=nowhere/at/all: no such folder" in capsys.readouterr().err
    assert list(Path("empty").iterdir()) == []
    assert not Path("made").exists()


@pytest.mark.parametrize("verb", [["train"], ["rollout"], ["eval"], ["sweep", "seed=0,1"]])
def test_a_model_that_is_not_there_is_answered_before_any_verb_builds_its_data(verb, words, capsys):
    assert run_command([*verb, *words, "model.path=nowhere/at/all"]) == 2
    assert "model.path=nowhere/at/all: no such folder" in capsys.readouterr().err
    assert not Path("made").exists()


def test_the_folders_of_a_sweeps_jobs_are_not_to_be_named(words, capsys):
    assert run_command(["sweep", "seed=0,1", *words, "hydra.sweep.subdir=job${seed}"]) == 2
    assert "hydra.sweep.subdir=job${seed}: the jobs of a sweep lie in folders 0, 1, 2, ... of hydra.sweep.dir" in (
        capsys.readouterr().err
    )


def test_a_run_whose_settings_are_gone_does_not_go_on_with_others(words, capsys):
    """`cp run/* copied/` leaves out what begins with a dot."""
    Path("copied/checkpoints/step-00001").mkdir(parents=True)
    Path("copied/config.resolved.yaml").write_text("verb: train\n")
    for resume in ("copied", "copied/checkpoints/step-00001"):
        assert run_command(["train", *words, f"resume={resume}"]) == 2
        assert f"resume={resume}: copied/.hydra/overrides.yaml is missing, the settings to go on" in capsys.readouterr().err
    assert run_command(["train", *words, "hydra.output_subdir=null"]) == 2
    assert "hydra.output_subdir=None: a run is resumed by what lies in .hydra; leave it out" in capsys.readouterr().err


def test_a_plan_where_nothing_can_be_written_is_one_sentence(words, capsys):
    Path("made").touch()
    assert run_command(["plan", "model.path=asset:nano-base", *words[:-2], "data.directory=made/data"]) == 2
    assert "gapo: made/data: cannot be written (Not a directory); name another folder\n" in capsys.readouterr().err
