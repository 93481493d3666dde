"""gapo eval rescore=RUN: the answers of an earlier run measured again, without a model and without torch."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from parts import write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.config.sampling import DELTA_CHRF
from gapo_cli.edits.delta_chrf import CONSTANTS
from gapo_cli.evaluation.predictions import LATER_COLUMNS


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """A run whose answers are those of a rule."""
    monkeypatch.chdir(tmp_path)
    tasks = write_tasks(tmp_path / "tasks.jsonl")
    rows = [json.loads(line) for line in tasks.read_text().splitlines()]
    rows[-1] |= {"alternatives": [rows[-1]["excerpt"][: rows[-1]["editable"][1]]]}  # to leave the last one alone is as right
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["eval", "on", "jsonl", f"data.path={tasks}", "baseline=copy", "hydra.run.dir=answered", "--quiet"]
    assert run_command(words) == 0
    return tmp_path / "answered"


def test_the_names_of_delta_chrf_are_those_that_have_constants():
    assert DELTA_CHRF == tuple(CONSTANTS)


@pytest.mark.slow
def test_answers_are_measured_again_without_torch(answered):
    program = (
        "import sys; from gapo_cli.cli.entry import run_command; "
        "code = run_command(['eval', 'rescore=answered', 'hydra.run.dir=again', 'evaluation.delta_chrf=zed-2026-02']); "
        "print('torch' in sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=answered.parent, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert "delta-chrF: zed-2026-02 (orders 1-6, beta 2, white space left out)" in done.stdout
    first, again = (
        json.loads((answered.parent / name / "eval" / "step-00000.json").read_text()) for name in ("answered", "again")
    )
    assert (first["delta_chrf_constants"], again["delta_chrf_constants"]) == ("zed-2026-04", "zed-2026-02")
    assert first["greedy"]["overall"]["exact_match"] == again["greedy"]["overall"]["exact_match"]
    # of 12 tasks the copy is silent in 11 that want an edit; the twelfth may be left alone
    assert again["greedy"]["overall"]["behaviour"]["silence_where_wanted"]["value"] == 1
    assert again["greedy"]["overall"]["sizes"] == {
        "tasks_that_want_an_edit": 11, "tasks_that_want_silence": 0, "right_by_an_alternative": 1,
    }  # fmt: skip
    assert again["baselines"]["copy"]["overall"]["exact_match"]["value"] == pytest.approx(1 / 12)
    scores = pd.read_parquet(answered.parent / "again" / "scores.parquet").set_index("task_id")
    assert scores.loc["eval-11", "best"] == 1 and scores.loc["eval-0", "best"] == 0
    assert scores["exact_match"].sum() == 1


@pytest.mark.slow
def test_answers_of_runs_before_the_later_columns_are_measured_too(answered):
    path = answered / "eval" / "step-00000.parquet"
    pd.read_parquet(path).drop(columns=list(LATER_COLUMNS)).to_parquet(path)
    assert run_command(["eval", f"rescore={path}", "hydra.run.dir=again", "--quiet"]) == 0
    again = json.loads((answered.parent / "again" / "eval" / "step-00000.json").read_text())
    assert again["greedy"]["overall"]["sizes"]["tasks_that_want_an_edit"] == 12
    assert again["greedy"]["overall"]["behaviour"]["reversal_ratio"]["value"] == 0


@pytest.mark.slow
def test_what_cannot_be_rescored_is_said_in_a_sentence(answered, capsys):
    assert run_command(["eval", "rescore=nowhere"]) == 2
    assert "rescore=nowhere: no such folder; name a run of gapo eval or gapo train" in capsys.readouterr().err
    assert run_command(["eval", f"rescore={answered}", "baseline=copy"]) == 2
    assert "measures answers that are there; leave out baseline= and against=" in capsys.readouterr().err
    assert run_command(["eval", f"rescore={answered}", "evaluation.delta_chrf=mine"]) == 2
    assert "evaluation.delta_chrf=mine" in capsys.readouterr().err
