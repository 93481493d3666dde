"""Imports go down the floors of the house only."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")


def lint(folder):
    return subprocess.run(
        [LINTER, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )


def test_the_floors_are_kept():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout
    assert "3 kept, 0 broken" in result.stdout


def test_an_import_upwards_breaks_the_contract(tmp_path):
    contract = (ROOT / "pyproject.toml").read_text()
    package = tmp_path / "gapo_cli"
    for source in (ROOT / "gapo_cli").rglob("*.py"):
        copy = package / source.relative_to(ROOT / "gapo_cli")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    (tmp_path / "pyproject.toml").write_text(contract)
    (package / "records.py").write_text((package / "records.py").read_text() + "\nfrom gapo_cli.training import loop\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert "gapo_cli.records -> gapo_cli.training" in result.stdout
