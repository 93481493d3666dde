"""Parts of a measurement, one after another, each with a budget of seconds; what is found is written after every part, so that a run
that is cut keeps what it has."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapo_cli.storage.files import write_json


class OutOfTime(BaseException):
    """A part has used up its budget. No Exception, for what is measured may catch these and go on."""


@dataclass
class TimedParts:
    """`file`: where the results go. `seconds`: of all parts together; one that comes later is not begun."""

    file: Path
    seconds: float
    about: Mapping[str, Any]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def run(self, name: str, budget: float, part: Callable[[dict[str, Any]], None]) -> None:
        """`part` fills the dict that it is given as it finds things; an error ends the part and is noted."""
        left = self.seconds - (time.monotonic() - self.began)
        found: dict[str, Any] = {}
        started = time.monotonic()
        if left <= 0:
            ended = "not begun: out of time"
        else:
            try:
                with alarm(min(budget, left)):
                    part(found)
                ended = "done"
            except (Exception, OutOfTime) as error:  # noqa: BLE001 what a device or its driver lack; the other parts go on
                ended = f"{type(error).__name__}: {error}"[:2000]
        took = time.monotonic() - started
        self.parts[name] = {"ended": ended, "took": took, "budget": budget, "found": found}
        write_json(self.file, {"about": dict(self.about), "parts": self.parts})
        print(f"{name}: {ended} ({took:.1f} s)", flush=True)


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raises OutOfTime within, between two steps of Python, when the time is up."""

    def stop(*_: Any) -> None:
        raise OutOfTime(f"used its {seconds:.0f} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
