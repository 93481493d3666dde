"""Runs that are killed with SIGKILL and resumed equal one that was not, bit for bit, clocks excepted."""

import json
import os
import random
import shutil

import pytest
from killed_run import make_run

from gapo_cli.runs.contents import contents_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def words(tmp_path_factory, tiny_model_folder):
    return ["train", *make_run(tmp_path_factory.mktemp("made"), tiny_model_folder), "hydra.run.dir=run"]


@pytest.fixture(scope="module")
def whole(driver, words, tmp_path_factory):
    """(the folder of an unkilled run of four steps, what is in it, how many things it did to files)."""
    folder = tmp_path_factory.mktemp("whole")
    done = driver.run(words, folder)
    assert done["status"] == 0, done["output"]
    rows = [json.loads(row) for row in contents_of(folder / "run")["metrics.jsonl"]]
    # what makes it a test: groups wait at the checkpoint of step 2, and the best model is made after it
    assert rows[2]["group/waiting"] > 0
    assert max(rows[:3], key=lambda row: row["val/exact_match"])["val/exact_match"] < rows[3]["val/exact_match"]
    return folder / "run", contents_of(folder / "run"), done["events"]


def killed(driver, words, folder, kill):
    done = driver.run(words, folder, kill)
    assert done["status"] == -9, done["output"]


def resumed(driver, words, folder):
    done = driver.run([*words, "resume=auto"], folder)
    assert done["status"] == 0, done["output"]
    return done["output"]


def test_a_run_killed_in_the_middle_of_a_parquet_file_goes_on_as_if_nothing_had_happened(driver, words, whole, tmp_path):
    killed(driver, words, tmp_path, {"write": "parquet", "call": 3})
    shown = resumed(driver, words, tmp_path)
    assert "resume=auto: going on with run\nresume=auto: from step-00002\n" in shown
    assert contents_of(tmp_path / "run") == whole[1]


def test_a_run_killed_in_the_middle_of_its_first_checkpoint_and_again_in_the_second_starts_over_and_goes_on(
    driver, words, whole, tmp_path
):
    killed(driver, words, tmp_path, {"write": "state", "call": 1})
    # starting over it writes the best model of step 0, the checkpoint of step 2, the best of step 3, that of step 4
    killed(driver, [*words, "resume=auto"], tmp_path, {"write": "weights", "call": 4})
    assert (
        "the run has no whole checkpoint, so it starts over in its folder"
        in (tmp_path.parent / f"{tmp_path.name}.log").read_text()
    )
    assert "from step-00002" in resumed(driver, words, tmp_path)
    assert contents_of(tmp_path / "run") == whole[1]


def test_a_run_killed_at_a_random_moment_and_again_as_it_resumes_ends_as_the_others_do(driver, words, whole, tmp_path):
    _, contents, events = whole
    at, again = random.randint(1, events - 1), random.randint(1, 40)
    killed(driver, words, tmp_path, {"event": at})
    driver.run([*words, "resume=auto"], tmp_path, {"event": again})
    resumed(driver, words, tmp_path)
    assert contents_of(tmp_path / "run") == contents, f"killed before file event {at} and, resumed, before {again}"


def test_a_damaged_checkpoint_is_named_and_passed_over_for_the_one_before(driver, words, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    (tmp_path / "run" / "outcome.json").write_text('{"status": "running"}')
    newest = tmp_path / "run" / "checkpoints" / "step-00004"
    os.truncate(newest / "model.safetensors", 100)
    shown = resumed(driver, words, tmp_path)
    assert "step-00004: model.safetensors has 100 bytes, the manifest says" in shown
    assert "it is skipped\nresume=auto: from step-00002\nresuming from step 2: removed the later" in shown
    assert contents_of(tmp_path / "run") == whole[1]
