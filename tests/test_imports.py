"""The house: imports go down its floors only, its root stays small, and the tests stand in rooms of the same names."""

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
    (package / "records.py").write_text((package / "records.py").read_text() + "\nfrom gapo_cli.training import lifecycle\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert "gapo_cli.records -> gapo_cli.training" in result.stdout


def test_the_root_of_the_package_holds_a_dozen_files_at_most():
    assert len(list((ROOT / "gapo_cli").glob("*.py"))) <= 12


def test_the_tests_of_a_room_stand_in_a_room_of_the_same_name():
    rooms = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    homeless = {str(room) for room in rooms if not list((ROOT / "gapo_cli" / room).glob("*.py"))}
    assert homeless == {"pretended_cuda"}  # whose tests are of all rooms, on another device
