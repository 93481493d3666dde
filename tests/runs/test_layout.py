"""The files of a run's folder: each is named in layout.py and nowhere else."""

import ast
from pathlib import Path

import gapo_cli
from gapo_cli.runs import layout
from gapo_cli.runs.layout import step_name, steps_in

PACKAGE = Path(gapo_cli.__file__).parent
NAMES = {value for value in vars(layout).values() if isinstance(value, str) and "." in value.lstrip(".") and " " not in value}
OWN_FILES = {"tasks/sets/store.py": {"manifest.json"}}
"""Folders that are no run's and have a file of the same name."""


def spelt_in(path: Path) -> set[str]:
    """The string literals of a module, docstrings left out."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    }


def test_the_layout_names_files():
    assert {"metrics.jsonl", "rollouts.parquet", "best.json", "cases.html"} <= NAMES


def test_no_other_module_spells_a_runs_files():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        again = {part for text in spelt_in(path) for part in text.split("/") if part in NAMES} - OWN_FILES.get(name, set())
        if again and name != "runs/layout.py":
            found[name] = sorted(again)
    assert found == {}


def test_steps_are_found_by_number_and_suffix(tmp_path):
    for name in ("step-00010.json", "step-00002.json", "step-00002.parquet", "step-last.json", "other-00001.json"):
        (tmp_path / name).touch()
    (tmp_path / step_name(7)).mkdir()
    assert steps_in(tmp_path, ".json") == {2: tmp_path / "step-00002.json", 10: tmp_path / "step-00010.json"}
    assert steps_in(tmp_path) == {7: tmp_path / "step-00007"}
    assert steps_in(tmp_path / "nowhere") == {}
