"""gapo study from the command line, with the smallest model."""

import json
from pathlib import Path

import pytest
from parts import smallest, write_tasks

import gapo_cli.conf
from gapo_cli.cli.entry import run_command

STUDY = """\
about: two settings
settings:
  first: [estimator=grpo]
  lying: [estimator=grpo, "reward.corruption={kind:one,probability:1.0}"]
comparisons: [[lying, first]]
delta: 0.5
seeds: 1
budget: 2
"""


SHIPPED = ", ".join(sorted(path.stem for path in (Path(gapo_cli.conf.__path__[0]) / "study").glob("*.yaml")))


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own/study").mkdir(parents=True)
    (tmp_path / "own/study/mine.yaml").write_text(STUDY)
    return ["mine", *smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder), "hydra.sweep.dir=one"]


@pytest.mark.slow
def test_a_study_runs_adds_seeds_while_undecided_and_ends_with_a_verdict(words, tmp_path, capsys):
    assert run_command(["study", *words, "study.until_decided=true", "--config-dir", "own"]) == 0
    shown = capsys.readouterr().out
    assert "undecided with 1 seeds: 1 more, of at most 2" in shown
    assert "lying against first, greedy exact match: " in shown
    jobs = json.loads((tmp_path / "one/sweep.json").read_text())["jobs"]
    assert [(job["setting"], job["seed"]) for job in jobs] == [("first", "0"), ("lying", "0"), ("first", "1"), ("lying", "1")]
    rows = [json.loads(line) for line in (tmp_path / "one/1/metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if "critic/score/mean" in row]
    # every reward of training is said to be 1; what evaluation measures is not touched
    assert all(row["critic/score/mean"] == 1.0 and row["reward/corrupted/mean"] == 1.0 for row in trained)
    assert all(row["val/exact_match"] < 1 for row in rows if "val/exact_match" in row)
    assert run_command(["study", "report", "one", "study.delta=0.25", "-o", "again", "-q"]) == 0
    assert json.loads((tmp_path / "again/verdicts.json").read_text())["delta"] == 0.25
    assert run_command(["study", "resume=one"]) == 0
    assert "one: 4 of 4 jobs done, 0 failed, 0 unfinished; none to run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["study", "nothing"], f"gapo: nothing: unknown study; need one of ({SHIPPED})\n"),
        (["study", "report"], "gapo: gapo study report: name a folder of a study or a sweep, or several runs\n"),
        (["study", "report", "none"], "gapo: none: is no training run; name folders that gapo train wrote, or those of sweeps and studies\n"),
        (["study", "resume=none"], "gapo: none/sweep.json: missing; name the folder of a sweep\n"),
        (["study", "main", "-o", "x"], "gapo: --output x: is for gapo study report; name a study's folder by hydra.sweep.dir=x\n"),
        (["study", "main", "--retry-failed"], "gapo: --retry-failed: say of which study, by resume=FOLDER\n"),
        (["train", "reward.corruption={kind:flop,probability:0.1}"], "gapo: reward.corruption.kind=flop: need one of flip, uniform, zero, one; did you mean flip?\n"),
        (["train", "reward.corruption={kind:flip,probability:2}"], "gapo: reward.corruption.probability=2.0: need 0 to 1\n"),
        (["train", "reward.corruption={kind:flip}"], "gapo: reward.corruption.probability: needs a value; reward.corruption needs kind, probability\n"),
        (["train", "reward.corruption={}"], "gapo: reward.corruption.kind: needs a value; reward.corruption needs kind, probability\n"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_one_sentence(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command(words) == 2
    assert capsys.readouterr().err == sentence
