"""The steps of CONTRIBUTING.md, followed to the letter: its files written, its commands run, in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from parts import smallest, write_tasks

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
FILES = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
COMMANDS = re.compile(r"<!-- command -->\n```\n(.*?)\n```", re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    """The files that the page says to write."""
    for name, text in FILES.findall(PAGE.read_text()):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "my_estimators" / "__init__.py").touch()
    return tmp_path


def run(folder: Path, command: str, *more: str) -> subprocess.CompletedProcess:
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*words, *more], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_page_has_a_class_a_yaml_a_test_and_two_commands():
    page = PAGE.read_text()
    assert [Path(name).suffix for name, _ in FILES.findall(page)] == [".py", ".yaml", ".py"]
    assert len(COMMANDS.findall(page)) == 2


@pytest.mark.slow
def test_the_test_of_the_new_estimator_passes(folder):
    command, _ = COMMANDS.findall(PAGE.read_text())
    done = run(folder, command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_a_run_trains_with_the_new_estimator(driver, folder, tiny_model_folder):
    import pandas as pd

    _, command = COMMANDS.findall(PAGE.read_text())
    tasks = write_tasks(folder / "tasks.jsonl")
    # a tiny model and a dozen tasks, so that the test takes seconds; `smallest` has experiment=debug too
    command = command.replace(" experiment=debug", "")
    program, words = shlex.split(command)[:3], shlex.split(command)[3:]
    assert program == ["python", "-m", "gapo_cli"]
    done = driver.run([*words, *smallest(tasks, tiny_model_folder), "hydra.run.dir=run"], folder)
    assert done["status"] == 0, done["output"]
    rollouts = pd.concat(pd.read_parquet(path) for path in sorted((folder / "run" / "rollouts").glob("*.parquet")))
    assert len(rollouts)
    assert (rollouts["advantage"] <= 0).all()
    # the best reward of each group is its baseline
    best = rollouts.groupby(["step", "group"])["reward"].transform("max")
    assert (rollouts["baseline"] == best).all()
