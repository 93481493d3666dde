"""gapo sweep from the command line."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.launching import sweeps as sweep_launch
from gapo_cli.runs.contents import differences


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    return [*smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder), "hydra.sweep.dir=one"]


def jobs_of(folder):
    return [
        json.loads((folder / str(job["number"]) / "outcome.json").read_text())
        for job in json.loads((folder / "sweep.json").read_text())["jobs"]
    ]


@pytest.mark.slow
def test_a_sweep_trains_every_combination_and_compares_them(words, tmp_path):
    assert run_command(["sweep", "tau=0.5,1.0", "seed=0,1", *words, "-q"]) == 0
    folder = tmp_path / "one"
    assert [job["status"] for job in jobs_of(folder)] == ["done"] * 4
    settings = [yaml.safe_load((folder / str(job) / "config.resolved.yaml").read_text()) for job in range(4)]
    assert [(config["estimator"]["tau"], config["seed"]) for config in settings] == [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]
    table = pd.read_csv(folder / "sweep.csv")
    assert table[["setting", "runs", "failed", "greedy_final_pairs"]].to_dict("list") == {
        "setting": ["tau=0.5", "tau=1.0"], "runs": [2, 2], "failed": [0, 0], "greedy_final_pairs": [0, 2],
    }  # fmt: skip
    assert "| tau=1.0 | 2/2 |" in (folder / "sweep.md").read_text()
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "mine.jsonl", "one"]


def without_model(words):
    return [word for word in words if not word.startswith("model.path=")]


@pytest.mark.slow
def test_jobs_side_by_side_by_joblib_end_as_they_do_one_by_one(warm_python, words, tmp_path, tiny_model_folder):
    given = [f"model.path={tmp_path}/none,{tiny_model_folder}", "hydra/launcher=cores", "hydra.launcher.n_jobs=2"]
    assert run_command(["sweep", *given, *without_model(words), "-q"]) == 1
    assert [job["status"] for job in jobs_of(tmp_path / "one")] == ["failed", "done"]
    assert pd.read_csv(tmp_path / "one" / "sweep.csv")["runs"].to_list() == [0, 1]


@pytest.mark.slow
def test_ctrl_c_stops_the_sweep_and_still_compares_what_there_is(words, tmp_path, monkeypatch, capsys):
    started = []

    def stage(config, display):
        started.append(config.seed)
        if config.seed == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(sweep_launch, "run_stage", stage)
    assert run_command(["sweep", "seed=0,1,2", *words]) == 130
    assert started == [0, 1]
    written = (tmp_path / "one" / "sweep.md").read_text()
    assert [line.split("|")[-2].strip() for line in written.splitlines() if line.startswith(("| 0 ", "| 1 ", "| 2 "))] == [
        "done", "FAILED: stopped before its end", "FAILED: never started",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_folder_that_holds_a_sweep_is_not_written_over(words, monkeypatch, capsys):
    monkeypatch.setattr(sweep_launch, "run_stage", lambda config, display: None)
    assert run_command(["sweep", "seed=0,1", *words, "-q"]) == 0
    assert run_command(["sweep", "seed=0,1", *words, "-q"]) == 2
    assert (
        capsys.readouterr().err
        == "gapo: hydra.sweep.dir=one: holds a sweep already; name another folder, or go on with it by resume=one\n"
    )


def written_at(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_a_killed_sweep_goes_on_with_the_jobs_that_are_left_and_ends_as_if_nothing_had_happened(driver, words, tmp_path):
    # two files of rollouts a job: the fourth is that of the second job's second step
    killed = driver.run(["sweep", "seed=0,1,2", *words], tmp_path, {"write": "parquet", "call": 4})
    assert killed["status"] == -9, killed["output"]
    first = written_at(tmp_path / "one" / "0")
    resumed = driver.run(["sweep", "resume=one"], tmp_path)
    whole = driver.run(["train", "seed=1", *words[:-1], "hydra.run.dir=whole"], tmp_path)
    assert (resumed["status"], whole["status"]) == (0, 0), resumed["output"]
    assert resumed["output"].startswith(
        "one: 1 of 3 jobs done, 0 failed, 2 unfinished; running 2 of the unfinished\njob 1 (2 of 3): as configured seed=1\n"
    )
    assert "resume=auto: from step-00001" in resumed["output"]
    assert written_at(tmp_path / "one" / "0") == first
    assert differences(tmp_path / "one" / "1", tmp_path / "whole") == []
    assert [job["status"] for job in jobs_of(tmp_path / "one")] == ["done"] * 3
    assert pd.read_csv(tmp_path / "one" / "sweep.csv")["runs"].to_list() == [3]


@pytest.mark.slow
def test_a_failed_job_is_shown_with_its_reason_and_the_others_run_on_and_it_is_run_again_only_when_asked_for(
    words, tmp_path, tiny_model_folder, capsys
):
    later = tmp_path / "later"
    assert run_command(["sweep", f"model.path={later},{tiny_model_folder}", *without_model(words)]) == 1
    failed, done = jobs_of(tmp_path / "one")
    assert (failed["status"], done["status"]) == ("failed", "done")
    assert "Traceback" in failed["details"]
    shown = capsys.readouterr().out
    assert f"job 0 (path={later}) failed: model.path={later}: no such folder" in shown
    assert "0/1 (1 failed)" in shown
    assert "FAILED: model.path=" in (tmp_path / "one" / "sweep.md").read_text()
    assert "to run the failed job again: gapo sweep resume=one --retry-failed\n" in shown
    assert run_command(["sweep", "resume=one"]) == 1
    assert "one: 1 of 2 jobs done, 1 failed, 0 unfinished; none to run\n" in capsys.readouterr().out
    before = written_at(tmp_path / "one" / "1")
    shutil.copytree(tiny_model_folder, later)
    assert run_command(["sweep", "resume=one", "--retry-failed", "-q"]) == 0
    assert [job["status"] for job in jobs_of(tmp_path / "one")] == ["done", "done"]
    assert written_at(tmp_path / "one" / "1") == before


@pytest.mark.slow
def test_resume_auto_goes_on_with_the_newest_unfinished_sweep_that_was_started_with_these_words(
    words, tmp_path, monkeypatch, capsys
):
    began = []

    def stage(config, display):
        began.append((config.seed, config.resume))
        if config.seed == 1 and len(began) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(sweep_launch, "run_stage", stage)
    words = [*words[:-1], "hydra.sweep.dir=outputs/sweep/a"]
    assert run_command(["sweep", "seed=0,1,2", "resume=auto", *words]) == 130
    shown = capsys.readouterr().out
    assert shown.startswith("resume=auto: there is nothing to go on with, so a new sweep begins\n")
    assert "the sweep was stopped; go on with: gapo sweep resume=outputs/sweep/a\n" in shown
    assert run_command(["sweep", "resume=auto", "seed=3,4", *words]) == 2
    assert "resume=outputs/sweep/a: was started as `gapo sweep seed=0,1,2" in capsys.readouterr().err
    assert run_command(["sweep", "resume=auto", "-q"]) == 0
    # the one that was stopped goes on, the one that never started starts
    assert began == [(0, None), (1, None), (1, "auto"), (2, None)]
    assert run_command(["sweep", "resume=auto"]) == 2
    assert capsys.readouterr().err == (
        "gapo: resume=auto: no sweep under outputs/sweep has unfinished jobs; name one by resume=FOLDER\n"
    )


def test_retrying_needs_the_name_of_a_sweep(words, capsys):
    assert run_command(["sweep", "seed=0,1", "--retry-failed", *words]) == 2
    assert "--retry-failed: say of which sweep, by resume=FOLDER" in capsys.readouterr().err
    assert run_command(["sweep", "resume=nowhere"]) == 2
    assert capsys.readouterr().err == "gapo: nowhere/sweep.json: missing; name the folder of a sweep\n"


def test_the_cores_are_shared_out_among_the_jobs_side_by_side(monkeypatch):
    from omegaconf import OmegaConf

    monkeypatch.setattr(sweep_launch, "usable_cores", lambda: 8)
    config = {n_jobs: OmegaConf.create({"hydra": {"launcher": {"n_jobs": n_jobs}}}) for n_jobs in (-1, 2, 16)}
    # all cores: 8 places for 3 jobs, 8 // 3 each; 2 at a time: 4 each; 16 places for 9 jobs on 8 cores: 1 each
    assert [sweep_launch.threads_per_job(config[n_jobs], jobs) for n_jobs, jobs in ((-1, 3), (2, 3), (16, 9))] == [2, 4, 1]


@pytest.mark.slow
def test_a_model_that_is_not_there_is_said_before_the_data_are_built(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [
        "data=jsonl",
        f"data.path={write_tasks(tmp_path / 'tasks.jsonl')}",
        "model=hf",
        "model.path=nowhere",
        "tau=0.3,0.5",
    ]
    for verb in (["sweep", *words], ["study", "main", *words[:-1]]):
        assert run_command(verb) == 2
        assert "nowhere" in capsys.readouterr().err
        assert not (tmp_path / "data").exists()
