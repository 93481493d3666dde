"""The dev split that is cut from the training split: whole files, and never a task on both sides."""

from dataclasses import replace

import pytest
from parts import edit_task, make_experiment

from gapo_cli.config.data import DataConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import UserError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.records import TaskSet
from gapo_cli.tasks.sets.dev import cut_dev
from gapo_cli.tasks.sets.prepared import load_tasks

TASKS = tuple(replace(edit_task(number), path=f"file{number // 3}.py") for number in range(600))


def test_the_tasks_of_a_file_stay_together_and_about_the_share_of_the_files_is_dev():
    train, dev = cut_dev(TASKS, 0.2)
    assert sorted(task.id for task in (*train, *dev)) == sorted(task.id for task in TASKS)
    assert not {task.path for task in train} & {task.path for task in dev}
    # 200 files: 40 are expected, with a standard deviation of 5.7
    assert 20 < len({task.path for task in dev}) < 60
    assert cut_dev(TASKS[::-1], 0.2)[1] == dev[::-1]


class Made:
    """A source with the splits that it is given."""

    def __init__(self, **splits):
        self.splits = splits

    def build(self, progress):
        return TaskSet(self.splits, {})

    def fingerprint(self):
        return {"made": sorted(self.splits)}


def loaded(tmp_path, source, share, split):
    data = DataConfig("made", tmp_path / "data", dev_share=share)
    experiment = make_experiment(tmp_path, ModelConfig("tiny", "none", 64), source=source, data=data)
    return load_tasks(experiment, split, QuietDisplay())


def test_training_and_dev_are_apart_and_eval_is_as_it_was(tmp_path):
    source = Made(train=TASKS[:300], eval=TASKS[300:])
    train, dev = (loaded(tmp_path, source, 0.2, split) for split in ("train", "dev"))
    assert (train, dev) == cut_dev(TASKS[:300], 0.2)
    assert loaded(tmp_path, source, 0.2, "eval") == TASKS[300:]


def test_data_that_have_a_dev_split_keep_it(tmp_path):
    source = Made(train=TASKS[:300], dev=TASKS[300:310])
    assert loaded(tmp_path, source, 0.2, "dev") == TASKS[300:310]
    assert loaded(tmp_path, source, 0.2, "train") == TASKS[:300]


def test_a_share_is_between_0_and_1(tmp_path):
    with pytest.raises(UserError, match=r"data\.dev_share=1\.0: need above 0 and below 1, or null for none"):
        DataConfig("made", tmp_path, dev_share=1.0)
