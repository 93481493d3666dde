"""A study's verdicts from the folders of its jobs, whatever is missing there."""

import json
import shutil
from dataclasses import replace

import pytest

from gapo_cli.errors import DataError, UserError
from gapo_cli.runs.study_definition import PaperTable, StudyDefinition, read_definition, save_definition
from gapo_cli.runs.sweep_plan import SweepPlan, read_plan, save_plan
from gapo_cli.stages.study import study_of_folder, study_of_runs

DEFINITION = StudyDefinition(
    "made", {"a": ("estimator=grpo",), "b": ("estimator=gapo",)}, (("b", "a"),), "made up", seeds=5, delta=0.02
)
BETTER = (0.40, 0.42, 0.41, 0.43, 0.40), (0.50, 0.53, 0.50, 0.54, 0.51)


def job(folder, values, seed, estimator, status="done", error=None, steps=80):
    folder.mkdir(parents=True)
    (folder / "outcome.json").write_text(json.dumps({"status": status, "seconds": 9.0, "error": error, "details": None}))
    (folder / "config.resolved.yaml").write_text(
        f"verb: train\nseed: {seed}\nestimator: {{_target_: m.{estimator}}}\ntrainer: {{steps: {steps}}}\n"
    )
    rows = [{"step": step, "val/exact_match": value, "time_s": 10.0 * step} for step, value in enumerate(values)]
    rows[-1] |= {"training/computed_tokens": 200, "actor/pg_clipfrac": 0.01}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_study(folder, first=BETTER[0], second=BETTER[1], **changed):
    """Five pairs of runs; `changed`: job number → keywords of its `job`."""
    jobs = DEFINITION.jobs(range(5))
    folder.mkdir()
    save_definition(folder, DEFINITION)
    save_plan(folder, SweepPlan(("made",), None, (), jobs, "study"))
    for one in jobs:
        seed, of_b = int(one.seed), one.setting == "b"
        keywords = changed.get(f"job{one.number}", {})
        job(folder / str(one.number), (0.3, (second if of_b else first)[seed]), seed, "GAPO" if of_b else "GRPO", **keywords)
    return folder


def test_five_pairs_with_a_clear_difference_are_better_with_an_interval(tmp_path):
    result = study_of_folder(write_study(tmp_path / "s"))
    (one,) = result.decisive
    # differences .10 .11 .09 .11 .11: mean 10.4 points
    assert (one.verdict.word, one.verdict.difference.mean) == ("better", pytest.approx(10.4))
    assert one.improvement.value == 1.0
    side = result.findings.sides[0]
    assert (side.runs, side.failed, side.tokens, side.clip_fraction) == (5, 0, 200.0, pytest.approx(0.01))
    assert side.seconds == pytest.approx(10.0)
    written = json.loads((tmp_path / "s/verdicts.json").read_text())
    assert written["comparisons"][0]["verdict"]["word"] == "better"
    assert "b against a, greedy exact match: better: +10.4 points" in (tmp_path / "s/study.md").read_text()
    assert "Learning curves" in (tmp_path / "s/study.html").read_text()
    assert result.more_seeds is None


def test_a_failed_job_takes_its_pair_out_and_the_verdict_names_it(tmp_path):
    folder = write_study(tmp_path / "s", job3={"status": "failed", "error": "no memory"})
    result = study_of_folder(folder)
    (one,) = result.decisive
    assert one.seeds == ("0", "2", "3", "4")
    assert one.left_out == ("seed 1 is left out: b (job 3) failed: no memory",)
    assert "1 pair is not counted: seed 1 is left out: b (job 3) failed: no memory" in (folder / "study.md").read_text()
    assert result.failed == 1


def test_jobs_that_differ_in_more_than_the_settings_named_are_said(tmp_path):
    result = study_of_folder(write_study(tmp_path / "s", job9={"steps": 40}))
    assert "b and a differ in more than the settings named: trainer.steps (40, 80)" in result.findings.warnings
    assert "jobs of b differ in more than the settings named: trainer.steps (40, 80)" in result.findings.warnings


def test_undecided_says_how_many_more_seeds(tmp_path):
    result = study_of_folder(write_study(tmp_path / "s", second=(0.45, 0.38, 0.44, 0.40, 0.42)))
    assert result.decisive[0].verdict.word == "undecided"
    assert result.more_seeds > 0


def test_runs_that_were_there_already_are_told_apart_by_their_configs(tmp_path):
    for number, (estimator, seed, value) in enumerate(
        [("GRPO", 0, 0.4), ("GRPO", 1, 0.42), ("GAPO", 0, 0.5), ("GAPO", 1, 0.51)]
    ):
        job(tmp_path / str(number), (0.3, value), seed, estimator)
    result = study_of_runs([tmp_path / str(number) for number in range(4)], {"delta": 0.02}, tmp_path / "out")
    (one,) = result.decisive
    assert (one.setting, one.other, one.seeds) == ("estimator=GAPO", "estimator=GRPO", ("0", "1"))
    assert result.findings.warnings == ()
    with pytest.raises(UserError, match="all runs have the same settings"):
        study_of_runs([tmp_path / "0", tmp_path / "1"], {}, tmp_path / "other")
    with pytest.raises(UserError, match="none: is no training run"):
        study_of_runs([tmp_path / "0", tmp_path / "none"], {}, None)


def test_runs_of_several_studies_are_reported_together_and_each_once(tmp_path):
    studies = [write_study(tmp_path / "first"), tmp_path / "second"]
    shutil.copytree(studies[0], studies[1])
    plan = read_plan(studies[1])
    taken = replace(plan.jobs[0], taken_from=str(studies[0] / "0"))
    save_plan(studies[1], replace(plan, jobs=(taken, *plan.jobs[1:])))
    result = study_of_runs([*studies, studies[0] / "1"], {"delta": 0.02}, tmp_path / "out")
    assert len(result.jobs) == 19


def test_one_seed_says_what_cannot_be_said(tmp_path):
    job(tmp_path / "0", (0.3, 0.4), 0, "GRPO")
    job(tmp_path / "1", (0.3, 0.5), 0, "GAPO")
    result = study_of_runs([tmp_path / "0", tmp_path / "1"], {}, tmp_path / "out")
    assert "with one seed nothing can be said" in result.decisive[0].verdict.sentence


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"study\.json: missing; name the folder of a study"):
        study_of_folder(tmp_path)


def test_a_study_is_read_as_it_was_written(tmp_path):
    table = PaperTable("The paper", ("setting", "3B"), (("a", 38.8), ("b", None)))
    definition = replace(DEFINITION, paper=(table,), across={"small": ("model=nano",)}, reuse=("elsewhere",))
    save_definition(tmp_path, definition)
    assert read_definition(tmp_path) == definition


def test_a_folder_of_another_verb_is_no_training_run(tmp_path):
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.resolved.yaml").write_text(f"verb: rollout\nseed: {number}\n")
    with pytest.raises(UserError, match="0: is no training run"):
        study_of_runs([tmp_path / "0", tmp_path / "1"], {}, None)
