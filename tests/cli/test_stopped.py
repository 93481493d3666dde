"""A real training run that is asked to end, or whose reader goes away."""

import json
import re
from pathlib import Path

import pytest
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command

pytestmark = pytest.mark.slow


@pytest.fixture
def words(tmp_path, tiny_model_folder):
    tiny = smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder)
    return ["train", *tiny, "evaluation.every_steps=0", "hydra.run.dir=run"]


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def outcome(folder: Path) -> str:
    return json.loads((folder / "run" / "outcome.json").read_text())["status"]


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_run_that_is_asked_to_end_saves_says_so_and_can_be_resumed(name, code, driver, words, tmp_path, monkeypatch):
    endless = [*words, "trainer.steps=3000", "trainer.checkpoint_every=20000"]
    ended = driver.run(endless, tmp_path, {"file": "step-00003.parquet", "signals": [name]})
    assert ended["status"] == code, ended["output"]
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00003"
    saved = re.escape(f"stopped after step 3 of 3000: saved {checkpoint} in ")
    assert re.search(saved + r"\d+\.\d s; go on with resume=", ended["output"]), ended["output"]
    assert ended["output"].endswith("\ngapo: stopped\n")
    assert checkpoint.is_dir()
    assert outcome(tmp_path) == "stopped"
    monkeypatch.chdir(tmp_path)
    assert run_command(["train", "resume=run", "trainer.steps=4", "-q"]) == 0
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4]
    assert outcome(tmp_path) == "done"


def test_a_run_whose_reader_goes_away_goes_on_to_its_end(driver, words, tmp_path):
    run = [*words, "trainer.steps=4", "trainer.checkpoint_every=2"]
    ended = driver.run(run, tmp_path, {"file": "step-00002.parquet", "reader": "leaves"})
    assert (ended["status"], ended["output"]) == (0, "")  # what is kept of the output is standard error here
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4]
    assert (tmp_path / "run" / "checkpoints" / "step-00004").is_dir()
    assert outcome(tmp_path) == "done"
