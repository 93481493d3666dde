"""The command on several processes, under torchrun and by trainer.processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from parts import smallest, write_tasks
from ranks_parts import command_on_ranks, free_port

from gapo_cli.cli.entry import run_command

GAPO = [sys.executable, "-m", "gapo_cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture
def words(tmp_path, tiny_model_folder):
    return ["train", *smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder), "hydra.run.dir=run"]


def run(command, folder, **environment):
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=os.environ | environment
    )


def answers_of(run_dir):
    found = [pd.read_parquet(path) for path in sorted(run_dir.glob("rollouts/*.parquet"))]
    return [(row.text, row.score, row.advantage) for table in found for row in table.itertuples()]


@pytest.mark.slow
@pytest.mark.usefixtures("warm_python")
def test_torchrun_on_two_nodes_makes_the_run_of_one_process(words, tmp_path):
    assert run_command([*words[:-1], f"hydra.run.dir={tmp_path / 'one'}"]) == 0
    rendezvous = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    nodes = [
        subprocess.Popen([*TORCHRUN, *rendezvous, "--node-rank", str(node), "-m", "gapo_cli", *words], cwd=tmp_path)
        for node in range(2)
    ]
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    assert answers_of(tmp_path / "run") == answers_of(tmp_path / "one")


@pytest.mark.slow
def test_processes_that_share_the_weights_make_the_run_of_one(words, tmp_path):
    codes, shown = command_on_ranks(2, [*words, "trainer.shard=true"], tmp_path)
    assert codes == [0, 0], shown
    assert run_command([*words[:-1], f"hydra.run.dir={tmp_path / 'one'}"]) == 0
    assert answers_of(tmp_path / "run") == answers_of(tmp_path / "one")
    best = tmp_path / "run" / "checkpoints" / "best"
    assert run_command(["eval", *words[1:-1], f"model.path={best}", f"hydra.run.dir={tmp_path / 'eval'}"]) == 0


WRONG = ["algorithm.importance_cap=2.0", "trainer.recompute_logprobs=false"]


def test_a_mistake_is_said_before_any_process_is_started(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.distributed.run.run", lambda _: pytest.fail("torchrun has been asked"))
    assert run_command([*words, *WRONG, "trainer.processes=2"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("gapo: algorithm.importance_cap=2.0: ") and errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_mistake_that_all_processes_find_is_said_once_and_nothing_is_left(words, tmp_path):
    codes, shown = command_on_ranks(2, [*words, *WRONG], tmp_path)
    assert codes[0] == 2 and codes[1] != 0
    assert shown.startswith("gapo: algorithm.importance_cap=2.0: ") and shown.count("\n") == 1
    assert not (tmp_path / "run").exists()


REFUSED = [
    (["train"], {"RANK": "1"}, "RANK=1: is set and WORLD_SIZE, MASTER_ADDR, MASTER_PORT not; start the processes by torchrun"),
    (["train"], {"WORLD_SIZE": "2"}, "WORLD_SIZE=2: is set and RANK is not; start the processes by torchrun"),
    (["train"], {"SLURM_STEP_NUM_TASKS": "4"}, "SLURM_STEP_NUM_TASKS=4: srun has started several processes that know nothing"),
    (["sweep", "seed=0,1", "trainer.processes=2"], {}, "trainer.processes=2: each job of a sweep or a study is one process"),
    (["train", "trainer.processes=0"], {}, "trainer.processes=0: need 1 or more, or null"),
    (["train", "trainer.shard=true"], {}, "trainer.shard=true: one process has no other to share the weights with"),
    (
        ["eval"],
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
        "gapo eval: is one process, and WORLD_SIZE=2 of it were started; start it without torchrun",
    ),
]


@pytest.mark.parametrize(("command", "environment", "sentence"), REFUSED)
def test_a_wrong_number_of_processes_is_refused(command, environment, sentence, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run_command(command) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_another_number_of_processes_than_asked_for_is_refused(words, tmp_path):
    codes, shown = command_on_ranks(2, [*words, "trainer.processes=3"], tmp_path)
    assert codes[0] == 2, shown
    assert shown.startswith("gapo: trainer.processes=3: torchrun has started 2; ")
    assert not (tmp_path / "run").exists()


def begin(words, folder):
    """A run of many steps on two processes, which has a checkpoint of its second."""
    process = subprocess.Popen(
        [*GAPO, *words, "trainer.processes=2", "trainer.steps=3000", "evaluation.every_steps=0", "trainer.checkpoint_every=2"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("step 3 "):
            break
    return process


@pytest.mark.slow
def test_ctrl_c_stops_all_processes_at_one_step_and_resumed_they_make_one_run_that_one_screen_shows(words, tmp_path):
    process = begin(words, tmp_path)
    process.send_signal(signal.SIGINT)
    shown, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "gapo: stopped\n")
    (step,) = re.findall(r"stopped after step (\d+) of 3000: saved ", shown)
    assert (tmp_path / "run" / "checkpoints" / f"step-{int(step):05d}").is_dir()
    codes, shown = command_on_ranks(2, ["train", "resume=run", f"trainer.steps={int(step) + 1}"], tmp_path)
    assert codes == [0, 0], shown
    last = f"step {int(step) + 1} "
    assert re.fullmatch(rf"(?s)(.*\n)?{last}.*\nreport: .*\ncheckpoint: .*\nbest checkpoint: .*\n", shown), shown
    assert shown.count(last) == 1
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["status"] == "done"
    assert (tmp_path / "run" / "ranks" / "rank-00001.log").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("warm_python")
def test_a_process_that_is_killed_ends_the_run_and_is_named_and_auto_goes_on(words, tmp_path, monkeypatch):
    process = begin(words, tmp_path)
    victim = next(child for child in children_of(process.pid) if os.readlink(f"/proc/{child}/fd/1").endswith("rank-00001.log"))
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.startswith(f"gapo: rank 1 (process {victim} on ") and errors.count("\n") == 1
    assert re.search(r"was killed; the last checkpoint is .*step-\d+; go on with resume=auto hydra.run.dir=", errors)
    step = max(int(path.name.removeprefix("step-")) for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    monkeypatch.chdir(tmp_path)
    alone = ["trainer.processes=1", f"trainer.steps={step + 1}"]
    assert run_command(["train", "resume=auto", "hydra.run.dir=run", *alone, "-q"]) == 0


def children_of(pid):
    for _ in range(100):
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        if found:
            return found
        time.sleep(0.1)
    return []


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["false", "true"])
def test_doctor_on_two_processes_compares_their_gradient_with_that_of_one(words, tmp_path, shard):
    codes, shown = command_on_ranks(2, ["doctor", *words[1:-1], f"trainer.shard={shard}", "--json"], tmp_path)
    assert codes == [0, 0], shown
    checks = {check["name"]: check for check in json.loads(shown)["checks"]}
    assert all(checks[name]["holds"] for name in ("ranks = one process", "engine = trainer", "sync", "checkpoint"))
    assert list(tmp_path.glob("gapo-doctor-*")) == []
