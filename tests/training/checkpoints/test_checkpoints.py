"""Checkpoints are whole or not there, and what is wrong with a damaged one is named."""

import errno
import json
import os
import shutil
import subprocess
from dataclasses import replace

import pytest
import torch

from gapo_cli.errors import CheckpointError
from gapo_cli.models.load import load_model
from gapo_cli.storage.files import write_json
from gapo_cli.training.checkpoints import checkpoints
from gapo_cli.training.checkpoints.checkpoints import (
    Checkpoints,
    Newest,
    TrainerState,
    find_checkpoint,
    load_state,
    newest_whole,
    steps_of,
)
from gapo_cli.training.checkpoints.manifest import verify

STATE = TrainerState("rl", {"0.exp_avg": torch.tensor([0.1, 0.2])}, {"step": 1, "missing": float("nan"), "order": {"epoch": 2}})


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, tiny_policy):
    folder = Checkpoints(tmp_path, keep=2).save(1, tiny_policy, STATE)
    assert folder == tmp_path / "checkpoints" / "step-00001"
    verify(folder)
    state = load_state(folder, "rl")
    assert torch.equal(state.tensors["0.exp_avg"], STATE.tensors["0.exp_avg"])
    assert state.values["order"] == {"epoch": 2}
    assert state.values["missing"] != state.values["missing"]
    loaded = load_model(type(tiny_policy.config)("again", str(folder), 64))
    for ours, theirs in zip(loaded.model.parameters(), tiny_policy.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path, tiny_policy):
    folder = Checkpoints(tmp_path, keep=2).save(1, tiny_policy, STATE)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".jinja", ".txt"}


def test_only_the_newest_are_kept(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 10):
        kept.save(step, tiny_policy, STATE)
    assert names(tmp_path / "checkpoints") == ["step-00002", "step-00010"]
    assert find_checkpoint(tmp_path).name == "step-00010"


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=2)
    kept.save(1, tiny_policy, STATE)
    kept.save(1, tiny_policy, TrainerState("rl", STATE.tensors, {"step": "new"}))
    assert names(tmp_path / "checkpoints") == ["step-00001"]
    assert load_state(kept.path(1), "rl").values == {"step": "new"}


@pytest.mark.parametrize("broken", ["model", "state"])
@pytest.mark.parametrize(("reason", "remedy"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "make it writable")])
def test_what_cannot_be_written_leaves_the_previous_checkpoint_whole(
    tmp_path, tiny_policy, monkeypatch, broken, reason, remedy
):
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(1, tiny_policy, STATE)

    def refused(*arguments, **keywords):
        raise OSError(reason, os.strerror(reason))

    if broken == "model":
        monkeypatch.setattr(tiny_policy.model, "save_pretrained", refused)
    else:
        monkeypatch.setattr(checkpoints, "save_file", refused)
    with pytest.raises(CheckpointError) as raised:
        kept.save(2, tiny_policy, STATE)
    assert f"step-00002: cannot be written ({os.strerror(reason)})" in str(raised.value)
    assert "step-00001 is whole" in str(raised.value)
    assert remedy in str(raised.value)
    assert names(tmp_path / "checkpoints") == ["step-00001"]
    verify(kept.path(1))


def test_a_disk_that_is_really_full_leaves_the_previous_checkpoint_whole(tmp_path, tiny_policy):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(run_dir)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        kept = Checkpoints(run_dir, keep=2)
        kept.save(1, tiny_policy, STATE)
        # the tiny model takes about 200 kB, so that a second one may fit but never a state of 1 MB
        with pytest.raises(CheckpointError, match="step-00001 is whole"):
            kept.save(2, tiny_policy, TrainerState("rl", {"0.exp_avg": torch.zeros(1 << 18)}, {}))
        assert names(run_dir / "checkpoints") == ["step-00001"]
        verify(kept.path(1))
    finally:
        subprocess.run(["umount", str(run_dir)], check=True)


def test_a_truncated_file_is_named(tmp_path, tiny_policy):
    folder = Checkpoints(tmp_path, keep=2).save(1, tiny_policy, STATE)
    weights = folder / "model.safetensors"
    size = weights.stat().st_size
    os.truncate(weights, size - 10)
    with pytest.raises(CheckpointError, match=f"model.safetensors has {size - 10} bytes, the manifest says {size}"):
        find_checkpoint(tmp_path)


def test_a_changed_file_is_named(tmp_path, tiny_policy):
    folder = Checkpoints(tmp_path, keep=2).save(1, tiny_policy, STATE)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.safetensors is not what was written \(its SHA-256 differs\)"):
        find_checkpoint(folder)


def test_a_missing_file_is_named_and_so_is_the_checkpoint_before(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=2)
    kept.save(1, tiny_policy, STATE)
    (kept.save(2, tiny_policy, STATE) / "trainer_state.json").unlink()
    with pytest.raises(CheckpointError, match=r"trainer_state.json is missing; the newest whole one is resume=.*step-00001"):
        find_checkpoint(tmp_path)
    assert find_checkpoint(kept.path(1)) == kept.path(1)


def test_a_folder_without_manifest_is_no_checkpoint(tmp_path, tiny_policy):
    folder = Checkpoints(tmp_path, keep=2).save(1, tiny_policy, STATE)
    (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no manifest.json"):
        find_checkpoint(folder)


def test_a_torn_manifest_is_named(tmp_path, tiny_policy):
    folder = Checkpoints(tmp_path, keep=2).save(1, tiny_policy, STATE)
    os.truncate(folder / "manifest.json", 20)
    with pytest.raises(CheckpointError, match=r"manifest.json: is damaged"):
        find_checkpoint(folder)


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        find_checkpoint(tmp_path / "nowhere")


def test_a_run_without_checkpoints_is_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        find_checkpoint(tmp_path)


def test_what_a_killed_writer_left_behind_is_not_taken_for_a_checkpoint(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=2)
    shutil.copytree(kept.save(1, tiny_policy, STATE), kept.folder / ".step-00002.abcdef" / "step-00002")
    assert steps_of(kept.folder) == [1]


def test_the_best_model_is_a_plain_folder_with_its_record(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=2)
    kept.save_best(tiny_policy, {"step": 0, "value": 0.25})
    folder = kept.save_best(tiny_policy, {"step": 4, "value": 0.5})
    assert json.loads((folder / "best.json").read_text()) == {"step": 4, "value": 0.5}
    assert load_model(type(tiny_policy.config)("again", str(folder), 64)).model is not None
    assert names(tmp_path / "checkpoints") == ["best"]


def test_what_lies_beyond_the_resumed_step_is_removed_and_named(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=3)
    for step in (2, 4, 6):
        kept.save(step, tiny_policy, STATE)
    kept.save_best(tiny_policy, {"step": 4})
    assert kept.go_back_to(6, best=4) == []
    assert kept.go_back_to(4, best=4) == [f"removed the later {kept.path(6)}"]
    assert kept.go_back_to(3, best=None) == [
        f"removed the later {kept.path(4)}",
        f"removed {kept.best.folder}, which was of step 4",
    ]
    assert names(tmp_path / "checkpoints") == ["step-00002"]


def test_a_checkpoint_that_is_gone_back_to_has_its_best_model_again(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=2)
    kept.save_best(tiny_policy, {"step": 1})
    first = (kept.best.folder / "best.json").read_text()
    kept.save(2, tiny_policy, replace(STATE, best=1))
    kept.save_best(tiny_policy, {"step": 3})
    kept.save_best(tiny_policy, {"step": 4})
    # step 2 knows the model of step 1 as the best; nobody knows that of step 3
    assert names(kept.folder) == ["best", "best-00001", "step-00002"]
    kept.go_back_to(2, best=1)
    assert names(kept.folder) == ["best", "step-00002"]
    assert (kept.best.folder / "best.json").read_text() == first
    verify(kept.best.folder)


def test_a_best_model_waits_no_longer_than_a_checkpoint_needs_it(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=1)
    kept.save_best(tiny_policy, {"step": 1})
    kept.save(2, tiny_policy, replace(STATE, best=1))
    kept.save_best(tiny_policy, {"step": 3})
    kept.save(4, tiny_policy, replace(STATE, best=3))
    assert names(kept.folder) == ["best", "step-00004"]


def test_a_damaged_best_model_is_removed_and_named(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=1)
    os.truncate(kept.save_best(tiny_policy, {"step": 1}) / "model.safetensors", 100)
    (said,) = kept.go_back_to(2, best=1)
    assert "best, of step 1, is missing or damaged" in said
    assert names(kept.folder) == []


def test_damaged_checkpoints_are_passed_over_for_the_newest_whole_one(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=4)
    for step in (1, 2, 3, 4):
        kept.save(step, tiny_policy, STATE)
    os.truncate(kept.path(4) / "model.safetensors", 100)
    (kept.path(3) / "trainer_state.json").unlink()
    found = newest_whole(tmp_path)
    assert found.checkpoint == kept.path(2)
    cut, missing = found.passed_over
    assert "step-00004: model.safetensors has 100 bytes, the manifest says" in cut
    assert missing.endswith("step-00003: trainer_state.json is missing")
    assert newest_whole(tmp_path / "nowhere").checkpoint is None


def test_what_killed_writers_left_goes_when_a_run_is_gone_back_to(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=2)
    kept.save(1, tiny_policy, STATE)
    (kept.folder / ".step-00002.a1b2c3d4" / "step-00002").mkdir(parents=True)
    (kept.folder / ".best.a1b2c3d4" / "previous").mkdir(parents=True)
    kept.go_back_to(1, best=None)
    assert sorted(os.listdir(kept.folder)) == ["step-00001"]


def test_checkpoints_that_this_run_did_not_write_are_never_removed(tmp_path, tiny_policy):
    kept = Checkpoints(tmp_path, keep=1)
    for step in (0, 1, 80):
        kept.path(step).mkdir(parents=True)
        (kept.path(step) / "weights").write_text("of somebody else")
    for step in (2, 3):
        kept.save(step, tiny_policy, STATE)
    assert names(tmp_path / "checkpoints") == ["step-00000", "step-00001", "step-00003", "step-00080"]
    assert kept.newest_in_words() == f"the last checkpoint is {kept.path(3)}"
    kept.go_back_to(0, best=None)
    assert names(tmp_path / "checkpoints") == ["step-00000", "step-00001", "step-00080"]


def test_a_later_checkpoint_of_another_run_does_not_push_a_new_one_out(tmp_path, tiny_policy):
    Checkpoints(tmp_path, keep=1).save(80, tiny_policy, STATE)
    Checkpoints(tmp_path, keep=1).save(3, tiny_policy, STATE)
    assert names(tmp_path / "checkpoints") == ["step-00003", "step-00080"]


def test_a_checkpoint_that_is_copied_in_from_another_run_is_neither_removed_nor_resumed(tmp_path, tiny_policy):
    here, there = tmp_path / "here", tmp_path / "there"
    for run_dir in (here, there):
        run_dir.mkdir()
        write_json(run_dir / "environment.json", {"run": run_dir.name})
    other = Checkpoints(there, keep=1).save(2, tiny_policy, STATE)
    kept = Checkpoints(here, keep=1)
    kept.save(1, tiny_policy, STATE)
    shutil.copytree(other, kept.path(2))
    assert find_checkpoint(here) == kept.path(1)
    assert newest_whole(here) == Newest(kept.path(1), (f"{kept.path(2)} is of another run",))
    assert kept.go_back_to(1, best=None) == []
    kept.save(3, tiny_policy, STATE)
    assert names(kept.folder) == ["step-00002", "step-00003"]
    moved = there.rename(tmp_path / "elsewhere")  # a run is known wherever it lies
    assert find_checkpoint(moved) == moved / "checkpoints" / "step-00002"
