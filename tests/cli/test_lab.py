"""gapo lab from the command line."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from lab_parts import pool_rewards, spread_rewards, write_rewards
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_rewards(tmp_path / "before" / "rollouts.parquet", pool_rewards(12, 64))


def test_a_pool_gives_tables_a_page_and_numbers(pool, tmp_path, capsys):
    words = ["estimators=grpo,gapo,quantile", "tau=0.3,0.5", "group_size=4,8", "corruption=0.1", "kind=flip,zero", "trials=8"]
    assert run_command(["lab", str(pool), *words, "-o", "out"]) == 0
    shown = capsys.readouterr().out
    assert "Estimated against true advantages" in shown and "Agreement under corrupted rewards (zero)" in shown
    rows = pd.read_csv("out/lab.csv")
    agreement = rows[(rows.measure == "agreement") & (rows.part == "all")]
    # 4 variants (grpo, gapo at two tau, quantile) x 2 sizes x (clean, flip, zero)
    assert len(agreement) == 24
    assert set(agreement.estimator) == {"grpo", "gapo tau=0.3", "gapo tau=0.5", "quantile"}
    assert json.loads((tmp_path / "out/lab.json").read_text())["trials"] == 8
    page = (tmp_path / "out/lab.html").read_text()
    assert "Agreement against tau" in page and 'id="lab-data"' in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    assert (tmp_path / "out/lab.md").read_text().startswith("# Laboratory\n")


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers(pool, tmp_path):
    for folder in ("one", "two"):
        assert run_command(["lab", str(pool), "trials=4", "group_size=4", "tau=0.5", "corruption=0", "-o", folder, "-q"]) == 0
    assert (tmp_path / "one/lab.csv").read_bytes() == (tmp_path / "two/lab.csv").read_bytes()


@pytest.mark.slow
def test_a_training_run_shows_what_can_be_known_without_a_pool(finished_run, tmp_path, capsys):
    assert run_command(["lab", str(finished_run), "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "4 completions a prompt are no pool" in shown
    assert "other sign than the first" in shown and "Estimated against true" not in shown
    assert "Reward shapes" in (tmp_path / "out/lab.md").read_text()


@pytest.mark.slow
def test_no_torch_is_imported(pool):
    code = (
        "import sys; from gapo_cli.cli.entry import run_command;"
        f"code = run_command(['lab', {str(pool)!r}, 'trials=2', 'tau=0.5', 'corruption=0', '-o', 'out', '-q']);"
        "print(code, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", "False"], ran.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "gapo lab: name a rollouts.parquet or a run's folder"),
        (["before", "estimators=gappo"], "estimator=gappo: unknown estimator; did you mean gapo?"),
        (["before", "taau=0.3"], "taau: none of grpo, gapo, median has it; did you mean tau?"),
        (["before", "hydra.run.dir=here"], "hydra.run.dir: none of grpo, gapo, median has it; need one of corruption, "),
        (["before", "tau=much"], "tau=much: need numbers, as tau=0.3,0.5"),
        (["before", "tau=0.5,0.50"], "tau=0.5,0.50: 0.5 is there twice; name each value once"),
        (["before", "group_size=8,4,8"], "group_size=8,4,8: 8 is there twice"),
        (["before", "corruption=0.1,0.1"], "corruption=0.1,0.1: 0.1 is there twice"),
        (["before", "kind=flip, flip"], "kind=flip, flip: flip is there twice"),
        (["before", "estimators=gapo,gapo"], "estimators=gapo,gapo: gapo is there twice"),
        (["before", "corruption=-0.1"], "corruption=-0.1: need 0 to 1"),
        (["before", "corruption=0.1,nan"], "corruption=nan: need 0 to 1"),
        (["before", "tau=0"], "tau=0.0: need 0 < tau <= 1"),
        (["before", "group_size=four"], "group_size=four: need whole numbers, as group_size=4,8"),
        (["before", "group_size=100"], "group_size=100: before has 64 completions a prompt"),
        (["before", "trials=1,2"], "trials: need one value"),
        (["before", "kind=flop"], "kind=flop: need one of flip"),
        (["nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(pool, words, sentence, capsys):
    assert run_command(["lab", *(words or ["trials=2"])]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_the_same_rollouts_under_two_names_are_examined_once(pool, tmp_path):
    words = ["before", "before/", str(pool), "trials=2", "corruption=0", "estimators=grpo"]
    assert run_command(["lab", *words, "-o", "out", "-q"]) == 0
    assert json.loads((tmp_path / "out/lab.json").read_text())["rollouts"] == ["before"]


def test_missing_rewards_are_said_and_left_out(pool, capsys):
    rewards = pool_rewards(5, 64)
    rewards[0, :3] = np.nan
    write_rewards(pool, rewards)
    assert run_command(["lab", "before", "trials=2", "tau=0.5", "corruption=0", "-o", "out"]) == 0
    assert "before: 3 completions have no reward and are left out" in capsys.readouterr().out


@pytest.mark.slow
def test_gradients_of_a_pool_come_from_the_model_that_sampled_it(tmp_path, monkeypatch, tiny_model_folder, capsys):
    monkeypatch.chdir(tmp_path)
    tasks = write_tasks(tmp_path / "tasks.jsonl")
    pool = [
        "rollout",
        *smallest(tasks, tiny_model_folder),
        "rollout.tasks=3",
        "sampling.group_size=8",
        "hydra.run.dir=pool",
        "-q",
    ]
    assert run_command(pool) == 0
    spread_rewards(tmp_path / "pool" / "rollouts.parquet")
    words = ["completions=8", "group_size=4", "trials=4", "sketch=997", "estimators=grpo,gapo", "tau=0.5"]
    assert run_command(["lab", "gradients", "pool", *words, "-o", "out"]) == 0
    assert "Estimated against true gradients" in capsys.readouterr().out
    rows = pd.read_csv("out/gradients.csv")
    assert set(rows.estimator) == {"grpo", "gapo tau=0.5"} and set(rows.measure) >= {"agreement", "update_cosine", "noise"}
    assert json.loads((tmp_path / "out/gradients.json").read_text())["sketch"] == 997
    assert (tmp_path / "out/gradients.md").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "gapo lab gradients: name one folder of gapo rollout"),
        (["nowhere"], "nowhere/config.resolved.yaml: missing, so the model of these rollouts is not known"),
        (["before", "trials=1"], "trials=1: need 2 or more"),
        (["before", "model=hf"], "model=hf: names a group; give its keys"),
        (["before", "tau=x"], "tau=x: need numbers"),
        (["before", "tau=0.5,0.5"], "tau=0.5,0.5: 0.5 is there twice"),
        (
            ["before", "smallest_pool=8"],
            "has it; need one of completions, estimators, group_size, model.*, prompts, sampling.*, ",
        ),
    ],
)
def test_a_mistake_about_gradients_is_one_sentence(pool, words, sentence, capsys):
    assert run_command(["lab", "gradients", *words]) == 2
    assert sentence in capsys.readouterr().err
