"""Being stopped at a place where stopping is whole: by Ctrl-C, by a scheduler (SIGTERM), by a terminal that closes (SIGHUP)."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that ask a command to end. SIGHUP is no signal of Windows."""


class Stopped(KeyboardInterrupt):
    """A command was asked to end by the signal `number`. `exit_code`: what a shell calls the last of them, 128 + number; it is
    the class's, for what lies between may turn the exception into another."""

    exit_code = 128 + signal.SIGINT

    def __init__(self, number: int) -> None:
        super().__init__(number)
        Stopped.exit_code = 128 + number


def raise_stopped(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def stop_by_signals() -> None:
    """From now on each of STOPPING raises Stopped where the program is. One that is ignored, as `nohup` has SIGHUP ignored,
    stays so."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, raise_stopped)


@contextlib.contextmanager
def interrupts_wait(*, breakable: bool = True) -> Iterator[None]:
    """A signal inside is raised as Stopped at the end of the block; a second one at once, unless the block is not `breakable`:
    a checkpoint is written to its end however often one asks. Outside the main thread, where Python delivers no signals,
    nothing waits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: int | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is not None and breakable:
            raise Stopped(number)
        first = number

    handled = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in handled}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if first is not None:
        raise Stopped(first)
