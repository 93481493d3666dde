"""What is written down of a machine, and random states that come back."""

import random
import subprocess

import numpy as np
import torch

from gapo_cli.hardware import usable_cores
from gapo_cli.runs.environment import describe_environment, git_revision
from gapo_cli.training.checkpoints.random_state import random_tensors, random_values, restore_random, seed_all


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_versions_hardware_and_seed_are_written_down():
    found = describe_environment(seed=7, device="cpu", threads=2)
    assert (found["seed"], found["device"], found["threads"]) == (7, "cpu", 2)
    assert found["packages"]["torch"] == torch.__version__
    assert found["hardware"]["cores"] == usable_cores() >= 1
    assert found["hardware"]["processor"]
    assert found["hardware"]["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_a_folder_that_git_does_not_track_has_no_revision(tmp_path):
    assert git_revision(tmp_path) is None
    git(tmp_path, "init")
    # an installed package inside of someone else's checkout
    assert git_revision(tmp_path) is None


def test_the_revision_says_whether_files_were_changed(tmp_path):
    git(tmp_path, "init")
    tracked = tmp_path / "environment.py"
    tracked.write_text("a = 1\n")
    git(tmp_path, "add", "environment.py")
    git(tmp_path, "commit", "-m", "first")
    clean = git_revision(tmp_path)
    assert len(clean) == 40
    tracked.write_text("a = 2\n")
    assert git_revision(tmp_path) == f"{clean}+changes"


def test_restored_random_states_draw_the_same_numbers():
    def draw():
        return random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(1))

    seed_all(3)
    first = draw()
    values, tensors = random_values(), random_tensors()
    following = draw()
    seed_all(3)
    assert draw() == first
    restore_random(values, tensors)
    assert draw() == following
