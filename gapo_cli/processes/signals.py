"""The signals that ask a command to end, and work in which none of them may break out."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU") if hasattr(signal, name)
)
"""Ctrl-C; schedulers and `timeout`; a terminal that closes; a batch system's warning (`sbatch --signal=USR1@120`), and a limit of
CPU time. Windows has the first two. SIGUSR2 is left to submitit, which puts a job back into its queue by it."""


@contextlib.contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None], numbers: Iterable[int] = STOPPING) -> Iterator[None]:
    """The signals that are not ignored have this handler inside."""
    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, before in previous.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def signals_noted() -> Iterator[Callable[[], None]]:
    """Inside, signals of STOPPING that have a handler do nothing until the given function is called, or the block ends: it calls the
    handlers of those that came. Outside the main thread, where Python delivers no signals, it has nothing to do."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    found: dict[int, Any] = {number: signal.getsignal(number) for number in STOPPING} if in_main_thread else {}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    def call_handlers() -> None:
        while noted:
            number = noted.pop(0)
            handlers[number](number, None)

    try:
        with handled_by(note, handlers):
            yield call_handlers
    finally:
        call_handlers()
