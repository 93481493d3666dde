"""The machine: its processors and its memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from gapo_cli.quantities import KIBIBYTE, MEBIBYTE

SPINS, SPINS_WHERE_BUSY = "50000", "1000"
"""Turns of a waiting thread's loop on a free machine, and on one that is busy; libgomp's own number is 300,000."""
BUSY = 0.5
"""From this load a core on (mean of the last minute) a machine counts as busy."""


def usable_cores() -> int:
    """The cores that this process may run on, which in a container or under taskset are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def vector_instructions() -> str:
    """What torch computes with on the processor: "AVX512", "AVX2", ... Another one rounds otherwise."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def multiplies_bfloat16() -> bool:
    """False where the processor is known to have no instructions for matrices in bfloat16: torch then multiplies them element by
    element."""
    import torch

    return not torch.backends.mkldnn.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEBIBYTE
    except (ValueError, OSError, AttributeError):
        return None


def let_threads_yield() -> None:
    """A thread of OpenMP that waits for the others spins for milliseconds before it sleeps, and where more processes run than
    cores are there it takes the time of the one it waits for (docs/background/performance.md has the figures). Here it spins for a shorter
    time, and for a very short one where the machine is busy as this process starts. To be called before torch is imported; what the
    environment says already stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS_WHERE_BUSY if is_busy() else SPINS)


def is_busy() -> bool:
    """Whether other processes have kept the machine busy for the last minute; False where the system does not say."""
    try:
        return os.getloadavg()[0] >= BUSY * (os.cpu_count() or 1)
    except (OSError, AttributeError):
        return False


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
