"""What the folders of a sweep's jobs tell, whatever is missing in them."""

import json

import pytest

from gapo_cli.errors import DataError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.runs.sweep_plan import SweepPlan, plan_jobs, save_plan
from gapo_cli.stages.sweep import read_job, read_jobs, sweep

(JOB,) = plan_jobs([["estimator.tau=0.3", "seed=1"]])


def test_settings_are_named_by_the_last_word_of_their_keys_and_the_seed_stands_apart():
    first, second = plan_jobs([["estimator.tau=0.3", "seed=1"], ["a.rate=1", "b.rate=2"]])
    assert (first.setting, first.seed, first.label) == ("tau=0.3", "1", "tau=0.3 seed=1")
    assert (second.setting, second.seed) == ("a.rate=1 b.rate=2", "")
    assert plan_jobs([["seed=1"]])[0].setting == "as configured"


def ended(folder, status, seconds, error=None):
    (folder / "outcome.json").write_text(json.dumps({"status": status, "seconds": seconds, "error": error, "details": None}))


def metrics(folder, *lines):
    (folder / "metrics.jsonl").write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))


def test_a_job_that_finished_has_its_metrics_and_the_clock_of_its_training(tmp_path):
    ended(tmp_path, "done", 9.0)
    metrics(tmp_path, {"step": 0, "time_s": 0.5}, {"step": 1, "time_s": 2.5})
    record = read_job(tmp_path, JOB)
    assert (record.error, len(record.metrics), record.seconds) == (None, 2, 2.5)


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [("failed", "no memory", "no memory"), ("running", None, "its process died"), ("stopped", None, "stopped before its end")],
)
def test_a_job_that_did_not_finish_says_why_and_keeps_what_it_wrote(tmp_path, status, error, reason):
    ended(tmp_path, status, 0.0, error)
    metrics(tmp_path, {"step": 0, "time_s": 0.5})
    record = read_job(tmp_path, JOB)
    assert (record.error, len(record.metrics)) == (reason, 1)


def test_a_torn_last_line_is_named_and_the_whole_lines_are_kept(tmp_path):
    ended(tmp_path, "done", 1.0)
    metrics(tmp_path, {"step": 0, "time_s": 0.5}, '{"step": 1, "ti')
    record = read_job(tmp_path, JOB)
    assert len(record.metrics) == 1
    assert "metrics.jsonl:2: not JSON" in record.error


def test_a_job_without_a_folder_never_started(tmp_path):
    assert read_job(tmp_path / "0", JOB).error == "never started"


def test_the_comparison_is_made_from_the_files_alone(tmp_path):
    save_plan(tmp_path, SweepPlan(("tau=0.3", "seed=1"), None, (), (JOB,)))
    (tmp_path / "0").mkdir()
    ended(tmp_path / "0", "done", 3.0)
    result = sweep(tmp_path, QuietDisplay())
    assert result.failed == 0
    assert [path.is_file() for path in (result.markdown, result.csv, result.plot)] == [True] * 3
    with pytest.raises(DataError, match=r"sweep\.json: missing; name the folder of a sweep"):
        sweep(tmp_path / "0", QuietDisplay())


def test_a_seed_that_is_not_swept_is_that_of_the_runs_config_even_for_a_job_that_never_started(tmp_path):
    jobs = plan_jobs([["estimator.tau=0.3"], ["estimator.tau=0.5"]])
    (tmp_path / "0").mkdir()
    ended(tmp_path / "0", "done", 1.0)
    (tmp_path / "0" / "config.resolved.yaml").write_text("seed: 7\n")
    assert [job.seed for job in read_jobs(tmp_path, SweepPlan((), None, (), jobs))] == ["7", "7"]
    assert [job.seed for job in read_jobs(tmp_path / "none", SweepPlan((), None, (), jobs))] == ["", ""]
