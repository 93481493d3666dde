"""A real training run that is asked to end, or whose reader goes away."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

GAPO = [sys.executable, "-m", "gapo_cli"]
DEBUG = [
    "train", "experiment=debug", "data.limit=48", "sampling.group_size=2", "sampling.max_new_tokens=8", "trainer.threads=1",
    "trainer.prompts_per_step=2", "trainer.prompts_per_mini_batch=2", "evaluation.tasks=2", "evaluation.samples=0",
    "evaluation.every_steps=0", "hydra.run.dir=run",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return f"data.directory={tmp_path_factory.mktemp('data')}"


def begin(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen([*GAPO, *DEBUG, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_run_that_is_asked_to_end_saves_says_so_and_can_be_resumed(number, code, data, tmp_path):
    process = begin(tmp_path, data, "trainer.steps=3000", "trainer.checkpoint_every=20000")
    shown = ""
    for line in process.stdout:
        shown += line
        if line.startswith("step 2 "):
            os.kill(process.pid, number)
            break
    rest, _ = process.communicate()
    assert process.returncode == code
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    step = int(checkpoint.name.removeprefix("step-"))
    assert step >= 2
    saved = re.escape(f"stopped after step {step} of 3000: saved {tmp_path / 'run' / 'checkpoints' / checkpoint.name} in ")
    assert re.search(saved + r"\d+\.\d s; go on with resume=", rest), rest
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["status"] == "stopped"
    again = [*GAPO, "train", "resume=run", f"trainer.steps={step + 1}", "-q"]
    assert subprocess.run(again, cwd=tmp_path, check=False).returncode == 0
    assert [row["step"] for row in rows(tmp_path)] == list(range(step + 2))
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["status"] == "done"


def test_a_run_whose_reader_goes_away_goes_on_to_its_end(data, tmp_path):
    process = begin(tmp_path, data, "trainer.steps=4", "trainer.checkpoint_every=2")
    for line in process.stdout:
        if line.startswith("step 1 "):
            break
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == ""
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4]
    assert (tmp_path / "run" / "checkpoints" / "step-00004").is_dir()
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["status"] == "done"
