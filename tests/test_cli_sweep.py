"""gapo sweep from the command line."""

import json

import pandas as pd
import pytest
import yaml
from cli_parts import smallest, write_tasks

from gapo_cli import launch
from gapo_cli.cli import run_command


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    return [*smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder), "hydra.sweep.dir=one"]


def jobs_of(folder):
    return [json.loads((folder / str(job["number"]) / "outcome.json").read_text()) for job in json.loads((folder / "sweep.json").read_text())["jobs"]]


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


def test_a_failed_job_is_shown_with_its_reason_and_the_others_run_on(words, tmp_path, tiny_model_folder, capsys):
    assert run_command(["sweep", f"model.path={tmp_path}/none,{tiny_model_folder}", *without_model(words)]) == 1
    failed, done = jobs_of(tmp_path / "one")
    assert (failed["status"], done["status"]) == ("failed", "done")
    assert "Traceback" in failed["details"]
    shown = capsys.readouterr().out
    assert f"job 0 (path={tmp_path}/none) failed: model.path={tmp_path}/none: no such folder" in shown
    assert "0/1 (1 failed)" in shown
    assert "FAILED: model.path=" in (tmp_path / "one" / "sweep.md").read_text()


@pytest.mark.slow
def test_jobs_side_by_side_by_joblib_end_as_they_do_one_by_one(words, tmp_path, tiny_model_folder):
    given = [f"model.path={tmp_path}/none,{tiny_model_folder}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert run_command(["sweep", *given, *without_model(words), "-q"]) == 1
    assert [job["status"] for job in jobs_of(tmp_path / "one")] == ["failed", "done"]
    assert pd.read_csv(tmp_path / "one" / "sweep.csv")["runs"].to_list() == [0, 1]


def test_ctrl_c_stops_the_sweep_and_still_compares_what_there_is(words, tmp_path, monkeypatch, capsys):
    started = []

    def stage(config, display):
        started.append(config.seed)
        if config.seed == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(launch, "run_stage", stage)
    assert run_command(["sweep", "seed=0,1,2", *words]) == 130
    assert started == [0, 1]
    written = (tmp_path / "one" / "sweep.md").read_text()
    assert [line.split("|")[-2].strip() for line in written.splitlines() if line.startswith(("| 0 ", "| 1 ", "| 2 "))] == [
        "done", "FAILED: stopped before its end", "FAILED: never started",
    ]  # fmt: skip


def test_a_folder_that_holds_a_sweep_is_not_written_over(words, monkeypatch, capsys):
    monkeypatch.setattr(launch, "run_stage", lambda config, display: None)
    assert run_command(["sweep", "seed=0,1", *words, "-q"]) == 0
    assert run_command(["sweep", "seed=0,1", *words, "-q"]) == 2
    assert capsys.readouterr().err == "gapo: hydra.sweep.dir=one: holds a sweep already; name another folder\n"


def test_the_cores_are_shared_out_among_the_jobs_side_by_side(monkeypatch):
    from omegaconf import OmegaConf

    monkeypatch.setattr(launch, "usable_cores", lambda: 8)
    config = {n_jobs: OmegaConf.create({"hydra": {"launcher": {"n_jobs": n_jobs}}}) for n_jobs in (-1, 2, 16)}
    # all cores: 8 places for 3 jobs, 8 // 3 each; 2 at a time: 4 each; 16 places for 9 jobs on 8 cores: 1 each
    assert [launch.threads_per_job(config[n_jobs], jobs) for n_jobs, jobs in ((-1, 3), (2, 3), (16, 9))] == [2, 4, 1]
