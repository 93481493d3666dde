"""Classes of a user's own that fail before a run begins: one sentence with the line, whatever they raise."""

import sys
from pathlib import Path

import pytest

from gapo_cli.errors import UserError
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import compose_overrides, open_tree, without_hydra

CLASS = "class Reward:\n    def __init__(self):\n        {}\n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            CLASS.format("{}['key']"),
            r"reward=mine: _target_=Reward: raised KeyError: 'key' \(at .*failing_part.py:3 in __init__\)",
        ),
        (
            CLASS.format("import no_such_package"),
            "_target_=Reward: raised ModuleNotFoundError: No module named 'no_such_package'",
        ),
        (CLASS.format("raise SystemExit(4)"), "_target_=Reward: raised SystemExit: 4 "),
        (CLASS.format("raise ValueError('too late')"), "reward=mine: failing_part.Reward: .*too late"),
        (
            "1 / 0\n",
            r"cannot be imported, it raises ZeroDivisionError: division by zero \(at .*failing_part.py:1 in <module>\)",
        ),
        ("raise SystemExit('no display')\n", "cannot be imported, it raises SystemExit: no display"),
        ("def f(:\n", r"cannot be imported, it raises SyntaxError: invalid syntax \(failing_part.py, line 1\)"),
        ("import no_such_package\n", r"cannot be imported \(No module named 'no_such_package'\)"),
    ],
)
def test_a_class_that_fails_as_it_is_built_or_imported_is_one_sentence(tmp_path, monkeypatch, source, sentence):
    (tmp_path / "failing_part.py").write_text(source)
    (tmp_path / "conf" / "reward").mkdir(parents=True)
    (tmp_path / "conf" / "reward" / "mine.yaml").write_text("_target_: failing_part.Reward\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with open_tree(tmp_path / "conf") as hydra:
        config = compose_overrides(hydra, ["verb=train", "reward=mine", "allow_targets=[failing_part]"])
    with pytest.raises(UserError, match=sentence):
        build_experiment(without_hydra(config), config.hydra.runtime.choices, Path())
    sys.modules.pop("failing_part", None)
