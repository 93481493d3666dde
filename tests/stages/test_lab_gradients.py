"""Which prompts gapo lab gradients computes gradients of."""

import numpy as np
import pytest
from parts import completion_of, edit_task

from gapo_cli.errors import DataError
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.lab.replay import Variant
from gapo_cli.records import Group
from gapo_cli.runs.group_files import write_groups
from gapo_cli.stages.lab_gradients import GradientSettings, chosen_groups

SETTINGS = GradientSettings((Variant("grpo", "grpo", GRPO()),), (2,), completions=4)


def write_pool(path, rewards):
    """A prompt a row."""
    groups = [
        Group(edit_task(number), (5, number), (completion_of("a"),) * len(row), {}, np.array(row), np.array(row))
        for number, row in enumerate(rewards)
    ]
    write_groups(path, 0, groups, lambda group: "prompt")


def test_prompts_that_are_left_out_are_counted_with_the_reason(tmp_path):
    spread, equal, missing = [0.0, 0.5, 1.0, 1.0, 0.0], [0.5, 0.5, 0.5, 0.5, 1.0], [0.0, np.nan, 1.0, 1.0, 0.0]
    write_pool(tmp_path / "rollouts.parquet", [spread, equal, missing, missing, spread])
    chosen = chosen_groups(tmp_path, SETTINGS)
    assert [group.task.id for group in chosen.groups] == ["task-0", "task-4"]
    assert chosen.pool.saved.rewards.tolist() == [spread[:4], spread[:4]]
    assert chosen.notes == [
        "1 of 5 prompts are left out: equal rewards only",
        "2 of 5 prompts are left out: a missing reward among the first 4",
    ]


def test_an_infinite_reward_is_said_before_any_model_is_loaded(tmp_path):
    write_pool(tmp_path / "rollouts.parquet", [[0.0, 0.5, 1.0, np.inf]])
    with pytest.raises(DataError, match=r"rollouts.parquet: the reward of task task-0 is infinite"):
        chosen_groups(tmp_path, SETTINGS)
