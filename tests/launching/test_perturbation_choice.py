"""`robustness=` on the command line: all perturbations, some, a user's own, and what is no such thing."""

import sys
from pathlib import Path

import pytest

from gapo_cli.cli.entry import run_command
from gapo_cli.errors import UserError
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, composed_yaml, open_tree, without_hydra
from gapo_cli.launching.perturbation_choice import with_perturbations
from gapo_cli.perturbations.rename import Rename

OWN = """
from dataclasses import dataclass, replace

from gapo_cli.records import Perturbed

@dataclass(frozen=True)
class Shout:
    times: int = 1

    def __call__(self, task, generator):
        return Perturbed(replace(task, system="!" * self.times))
"""


@pytest.fixture
def chosen(tmp_path):
    def of(*words, verb="eval", config_dir=None):
        with open_tree(config_dir) as hydra:
            config = compose_overrides(hydra, with_perturbations(hydra, command_overrides(verb, words)))
            return build_experiment(without_hydra(config), config.hydra.runtime.choices, tmp_path).perturbations

    return of


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], []),
        (["robustness=null"], []),
        (["robustness=rename"], ["rename"]),
        (["robustness=rename,comment"], ["rename", "comment"]),
        (["evaluation.robustness=[comment]"], ["comment"]),
    ],
)
def test_names_choose_perturbations_in_their_order(chosen, words, names):
    assert list(chosen(*words)) == names


def test_all_is_every_yaml_of_the_group(chosen):
    import gapo_cli.conf

    assert list(chosen("robustness=all")) == sorted(
        path.stem for path in (Path(gapo_cli.conf.__path__[0]) / "perturbation").glob("*.yaml")
    )


def test_settings_of_a_perturbation_are_changed_by_its_name(chosen):
    assert chosen("robustness=all", "perturbation.rename.words=5")["rename"] == Rename(words=5)
    assert "  rename:\n    _target_: gapo_cli.perturbations.rename.Rename\n    words: 2" in composed_yaml(
        "eval", ["robustness=rename"]
    )


def test_a_users_own_takes_part_by_its_yaml(chosen, tmp_path, monkeypatch):
    (tmp_path / "own_noise.py").write_text(OWN)
    (tmp_path / "conf" / "perturbation").mkdir(parents=True)
    (tmp_path / "conf" / "perturbation" / "shout.yaml").write_text("shout:\n  _target_: own_noise.Shout\n  times: 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"perturbation.shout._target_=own_noise.Shout: .*allow_targets=\[own_noise\]"):
        chosen("robustness=shout", config_dir=tmp_path / "conf")
    found = chosen("robustness=all", "allow_targets=[own_noise]", config_dir=tmp_path / "conf")
    assert (found["shout"].times, len(found) > 5) == (3, True)
    sys.modules.pop("own_noise")


@pytest.mark.parametrize(
    ("words", "verb", "sentence"),
    [
        (["robustness=renam"], "eval", "robustness=renam: unknown perturbation; did you mean rename"),
        (["robustness=xyzzy"], "eval", r"robustness=xyzzy: unknown perturbation; need one of \(blank_lines, .*\), or all"),
        (["robustness=all"], "train", "robustness=all: is for `gapo eval`; leave it out"),
        (["perturbation=[rename]"], "train", r"perturbation=\[rename\]: is for `gapo eval`"),
        (["robustness=rename", "perturbation.rename.words=0"], "eval", "perturbation.rename.words=0: need above 0|words=0"),
        (
            ["robustness=rename", "evaluation.perturbation_seed=-1"],
            "eval",
            "evaluation.perturbation_seed=-1: need a whole number",
        ),
    ],
)
def test_what_is_no_perturbation_is_answered_in_one_sentence(chosen, words, verb, sentence):
    with pytest.raises(UserError, match=sentence):
        chosen(*words, verb=verb)


@pytest.mark.slow
def test_the_command_measures_robustness(tmp_path, monkeypatch, capsys):
    from parts import write_tasks

    monkeypatch.chdir(tmp_path)
    words = ["data=jsonl", f"data.path={write_tasks(tmp_path / 'mine.jsonl')}", "baseline=copy", "hydra.run.dir=out"]
    assert run_command(["eval", *words, "robustness=blank_lines,unrelated_edit"]) == 0
    assert "under perturbations" in capsys.readouterr().out
    assert (tmp_path / "out" / "robustness.json").is_file()
    assert run_command(["eval", *words[:-1], "hydra.run.dir=other", "robustness=cursor_column"]) == 2
    assert "robustness=cursor_column: applies to none of the 12 tasks (no cursor)" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
