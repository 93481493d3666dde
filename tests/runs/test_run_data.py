import json
import shutil

import pytest
from synthetic_run import write_run

from gapo_cli.runs.run_data import change_of, read_run, run_folders, short_names
from gapo_cli.runs.sweep_plan import PlannedJob, SweepPlan, save_plan


@pytest.fixture
def copied(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "copied")


def test_a_finished_run_has_nothing_to_note(finished_run):
    run = read_run(finished_run)
    assert run.notes == ()
    assert run.setting("estimator", "tau") == 0.5
    assert run.setting("estimator", "tau", "deeper") is None
    assert [evaluation.step for evaluation in run.evaluations] == [0, 3]
    assert list(run.rollouts) == [1, 2, 3]
    assert run.best["step"] == 3
    assert run.curve("critic/score/mean") == [(1, 0.6), (2, 0.7), (3, 0.8)]


def test_the_change_is_paired_by_task(finished_run):
    # 10 of 40 tasks became right, none wrong
    change = change_of(read_run(finished_run))
    assert change["greedy"].value == change["sampled"].value == 10 / 40
    assert 0.1 < change["greedy"].low < 0.25 < change["greedy"].high < 0.4


def test_a_run_that_died_is_read_as_far_as_it_got(tmp_path):
    died = write_run(tmp_path / "died", steps=2, planned=80)
    (died / "environment.json").unlink()
    with (died / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "critic/sc')
    (died / "eval" / "step-00002.json").write_text("{")
    run = read_run(died)
    assert len(run.metrics) == 3
    assert len(run.evaluations) == 1
    assert change_of(run) == {}
    for note in (
        "metrics.jsonl, line 4: torn, left out",
        "environment.json is missing",
        "eval/step-00002.json cannot be read: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "the run ended after step 2 of 80",
    ):
        assert note in run.notes


def test_answers_that_were_cut_are_named(tmp_path):
    run = write_run(tmp_path / "run", steps=4)
    answers = run / "eval" / "step-00000.parquet"
    answers.write_bytes(answers.read_bytes()[:200])
    found = read_run(run)
    assert [one.predictions is None for one in found.evaluations[:2]] == [True, False]
    assert any(note.startswith("eval/step-00000.parquet cannot be read: ") for note in found.notes)
    assert change_of(found) == {}


def test_an_empty_run_names_everything_that_it_lacks(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    run = read_run(tmp_path)
    assert {note.split(" ")[0] for note in run.notes} == {
        "config.resolved.yaml",
        "environment.json",
        "metrics.jsonl",
        "rollouts/",
        "eval/",
    }


@pytest.mark.parametrize("text", ["a: [", "- 1\n"])
def test_a_damaged_config_is_noted(copied, text):
    (copied / "config.resolved.yaml").write_text(text)
    assert any(note.startswith("config.resolved.yaml cannot be read") for note in read_run(copied).notes)


def test_numbers_that_are_none_are_left_out_of_curves(copied):
    with (copied / "metrics.jsonl").open("a") as stream:
        stream.write(
            json.dumps({"step": 4, "critic/score/mean": float("nan")})
            + "\n"
            + json.dumps({"step": 5, "critic/score/mean": None})
            + "\n"
        )
    assert [step for step, _ in read_run(copied).curve("critic/score/mean")] == [1, 2, 3]


def test_answers_that_cannot_be_read_give_no_change(copied):
    (copied / "eval" / "step-00000.parquet").write_bytes(b"PAR1")
    assert change_of(read_run(copied)) == {}


def test_exact_match_is_found_in_the_metrics_where_the_evaluations_are_gone(finished_run, copied):
    whole = read_run(finished_run).exact_match("greedy")
    shutil.rmtree(copied / "eval")
    rescued = read_run(copied).exact_match("greedy")
    assert [step for step, _ in rescued] == [step for step, _ in whole] == [0, 3]
    # all but the method's name is there
    assert [(one.value, one.low, one.high) for _, one in rescued] == [(one.value, one.low, one.high) for _, one in whole]


def test_an_evaluation_alone_is_a_run_without_gaps(copied):
    for name in ("metrics.jsonl", "rollouts", "checkpoints"):
        path = copied / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    config = copied / "config.resolved.yaml"
    config.write_text(config.read_text().replace("verb: train", "verb: eval"))
    assert read_run(copied).notes == ()


def test_a_sweep_stands_for_its_jobs(tmp_path):
    for number in (10, 9, 2):
        (tmp_path / str(number) / "eval").mkdir(parents=True)
    (tmp_path / "7").mkdir()
    assert run_folders(tmp_path) == []
    (tmp_path / "sweep.json").write_text("{}")
    assert [folder.name for folder in run_folders(tmp_path)] == ["2", "9", "10"]


def test_a_run_from_elsewhere_that_stands_for_a_job_is_one_of_the_sweeps(tmp_path):
    # so a study may reuse a study that has itself reused one
    study, elsewhere, gone = tmp_path / "study", tmp_path / "elsewhere", tmp_path / "gone"
    for run in (study / "2", elsewhere):
        (run / "eval").mkdir(parents=True)
    jobs = [PlannedJob(0, "", "0", (), str(gone)), PlannedJob(1, "", "1", (), str(elsewhere)), PlannedJob(2, "", "2", ())]
    save_plan(study, SweepPlan((), None, (), tuple(jobs), "study"))
    assert run_folders(study) == [elsewhere, study / "2"]


def test_names_are_as_short_as_they_can_be(tmp_path):
    assert short_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert short_names([tmp_path / "x" / "0", tmp_path / "y" / "0"]) == ["x/0", "y/0"]
