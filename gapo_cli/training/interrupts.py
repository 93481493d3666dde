"""Being stopped at a place where stopping is whole: by Ctrl-C, by a scheduler, by a terminal that closes.

One of several ranks may only stop where all do, so there a signal is a wish: it is granted where the ranks meet."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from gapo_cli.processes.ranks import Ranks
from gapo_cli.processes.signals import STOPPING, handled_by


class Stopped(KeyboardInterrupt):
    """A command was asked to end by the signal `number`. `exit_code`: what a shell calls the last of them, 128 + number; it is
    the class's, for what lies between may turn the exception into another."""

    exit_code = 128 + signal.SIGINT

    def __init__(self, number: int) -> None:
        super().__init__(number)
        Stopped.exit_code = 128 + number


_heard: set[int] = set()


def is_repeated(number: int) -> bool:
    """Whether a signal asks once more for the end that is under way. Ctrl-C never does: who presses it again wants it sooner. The
    others come twice by themselves: `timeout` sends one to the command and one to its group, and of a terminal that closes both
    the shell and the system tell."""
    again = number in _heard and number != signal.SIGINT
    _heard.add(number)
    return again


def raise_stopped(number: int, frame: FrameType | None) -> None:
    if not is_repeated(number):
        raise Stopped(number)


def stop_by_signals() -> None:
    """From now on each of STOPPING raises Stopped where the program is. One that is ignored, as `nohup` has SIGHUP ignored,
    stays so."""
    _heard.clear()
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, raise_stopped)


class Wish:
    """A handler of signals that only remembers the first."""

    number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not is_repeated(number) and self.number is None:
            self.number = number

    def grant(self) -> None:
        if self.number is not None:
            raise Stopped(self.number)


@contextlib.contextmanager
def stopping_together(ranks: Ranks) -> Iterator[None]:
    """Inside, one of several ranks raises Stopped only where `ranks.look_for_stop` is called: in its own part of
    `ranks.together`, whose error is that of all."""
    if ranks.alone:
        yield
        return
    wish = Wish()
    with handled_by(wish):
        ranks.look_for_stop = wish.grant
        yield


@contextlib.contextmanager
def interrupts_wait(*, breakable: bool = True) -> Iterator[None]:
    """A signal inside is raised as Stopped at the end of the block; another one at once, unless the block is not `breakable`:
    a checkpoint is written to its end however often one asks. Outside the main thread, where Python delivers no signals,
    nothing waits; in `stopping_together` everything does."""
    waiting = any(isinstance(signal.getsignal(number), Wish) for number in STOPPING)
    if waiting or threading.current_thread() is not threading.main_thread():
        yield
        return
    first: int | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if is_repeated(number):
            return
        if first is not None and breakable:
            raise Stopped(number)
        first = number

    with handled_by(note):
        yield
    if first is not None:
        raise Stopped(first)
