"""data=zeta through the composed config: prepared once, its splits by name."""

import json
from pathlib import Path

import pytest

from gapo_cli.errors import DataError
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.tasks.sets.prepared import load_tasks, prepare


def row(before: str, after: str) -> str:
    written = "```a.py\n<|editable_region_start|>\n%s<|editable_region_end|>\n```"
    values = {"events": "", "input": written % f"<|user_cursor_is_here|>{before}\n", "output": written % f"{after}\n"}
    return json.dumps(values | {"rejected": "", "assertions": ""}) + "\n"


@pytest.fixture
def zeta_folder(tmp_path) -> Path:
    folder = tmp_path / "zeta"
    folder.mkdir()
    (folder / "train.jsonl").write_text(row("one", "uno") + row("two", "dos"))
    (folder / "eval.jsonl").write_text(row("three", "tres"))
    return folder


def experiment_of(verb: str, folder: Path, *words: str) -> Experiment:
    with open_tree(None) as hydra:
        words = ["data=zeta", f"data.path={folder}", f"data.directory={folder.parent / 'data'}", *words]
        config = compose_overrides(hydra, command_overrides(verb, words))
        return build_experiment(without_hydra(config), config.hydra.runtime.choices, folder.parent)


def test_a_prepared_set_has_both_splits_and_is_not_built_again(zeta_folder):
    experiment = experiment_of("prepare", zeta_folder)
    first, second = prepare(experiment, QuietDisplay()), prepare(experiment, QuietDisplay())
    assert {split: counts["tasks"] for split, counts in first.manifest["splits"].items()} == {"train": 2, "eval": 1}
    assert (first.built, second.built, first.folder) == (True, False, second.folder)


@pytest.mark.slow
@pytest.mark.parametrize(("split", "targets"), [("train", ["uno", "dos"]), ("eval", ["tres"]), ("all", ["uno", "dos", "tres"])])
def test_data_split_names_what_is_evaluated(zeta_folder, split, targets):
    experiment = experiment_of("eval", zeta_folder, f"data.split={split}")
    tasks = load_tasks(experiment, experiment.evaluation.split, QuietDisplay())
    assert [task.target.strip() for task in tasks] == targets


def test_data_split_names_what_is_trained_on(zeta_folder):
    experiment = experiment_of("train", zeta_folder, "data.split=eval")
    assert (experiment.data.train_split, experiment.evaluation.split) == ("eval", "eval")


def test_a_split_that_zeta_lacks_is_named(zeta_folder):
    experiment = experiment_of("eval", zeta_folder, "data.split=dpo")
    with pytest.raises(DataError, match=r"has no split 'dpo' \(train: 2 tasks, eval: 1 tasks\)"):
        load_tasks(experiment, experiment.evaluation.split, QuietDisplay())
