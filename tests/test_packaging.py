"""What is installed: every package and data file, and no dependency that nothing imports."""

import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = {"hydra-core": "hydra"}  # distributions that are imported under another name


@functools.cache
def imported_modules():
    """The first words of every import in the package, those inside functions included."""
    found = set()
    for path in (ROOT / "gapo_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"])
def test_every_dependency_is_imported(requirement):
    name = re.match(r"[A-Za-z0-9_-]+", requirement).group()
    assert MODULES.get(name, name) in imported_modules()


def test_every_folder_with_code_is_a_package_that_is_installed():
    folders = {path.parent for path in (ROOT / "gapo_cli").rglob("__init__.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders} | {"gapo_cli.conf"}
    assert packages == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.slow
def test_a_wheel_holds_the_yaml_tree_and_the_assets(tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("gapo_cli", "conf"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, checkout / name)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(checkout),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    yaml = {f"gapo_cli/{path.relative_to(checkout)}" for path in (checkout / "conf").rglob("*.yaml")}
    rooms = [path for folder in ("assets", "reports") for path in (checkout / "gapo_cli" / folder).rglob("*")]
    data = {str(path.relative_to(checkout)) for path in rooms if path.is_file()}
    assert {
        "gapo_cli/conf/config.yaml",
        "gapo_cli/assets/nano-noisy/model.safetensors",
        "gapo_cli/reports/report.css",
    } <= yaml | data
    assert yaml | data <= held
    assert not [name for name in held if name.startswith("tests/")]
