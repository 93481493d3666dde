"""CPU seconds by part: functions that are watched take their own time, without that of watched ones they call."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from measure import Costs


@dataclass
class Stopwatch:
    """What has been spent since the last `lap`, by part."""

    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _within: list[float] = field(default_factory=list)
    _replaced: list[tuple[Any, str, Any]] = field(default_factory=list)

    def watch(self, owner: Any, name: str, part: str, when: Callable[[], bool] = lambda: True) -> None:
        """Wraps the function `name` of an object, a class or a module; calls count where `when` says so."""
        inner = getattr(owner, name)

        def timed(*arguments: Any, **settings: Any) -> Any:
            if not when():
                return inner(*arguments, **settings)
            self._within.append(0.0)
            started = time.process_time()
            try:
                return inner(*arguments, **settings)
            finally:
                total = time.process_time() - started
                self.spent[part] += total - self._within.pop()
                if self._within:
                    self._within[-1] += total

        self._replaced.append((owner, name, inner))
        setattr(owner, name, timed)

    def unwatch(self) -> None:
        """Puts all functions back."""
        while self._replaced:
            setattr(*self._replaced.pop())

    def lap(self, total: float) -> dict[str, float]:
        """The parts of `total` seconds, and "all else"; they begin at 0 again."""
        parts = dict(self.spent)
        self.spent.clear()
        return parts | {"all else": total - sum(parts.values())}


@dataclass
class Steps:
    """What each step took: seconds, and bytes at the peak."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)
    peaks: list[int | None] = field(default_factory=list)

    def add(self, cpu: float, wall: float, parts: dict[str, float], peak: int | None = None) -> None:
        """`peak`: bytes beyond those before the step."""
        self.cpu.append(cpu)
        self.wall.append(wall)
        self.parts.append(parts)
        self.peaks.append(peak)

    def without_first(self, count: int) -> Steps:
        return Steps(self.cpu[count:], self.wall[count:], self.parts[count:], self.peaks[count:])

    def costs(self, name: str) -> Costs:
        return Costs(name, tuple(self.cpu), tuple(self.wall), tuple(self.peaks))

    def part(self, name: str) -> list[float]:
        """CPU seconds of one part in each step."""
        return [one.get(name, 0.0) for one in self.parts]

    def median(self, part: str) -> float:
        return statistics.median(self.part(part))

    def share(self, parts: Sequence[str]) -> list[float]:
        """Of these parts together in each step's CPU seconds."""
        return [sum(one.get(part, 0.0) for part in parts) / cpu for one, cpu in zip(self.parts, self.cpu, strict=True)]
