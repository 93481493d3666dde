"""Work divided among processes of a pool, which signals stop as a whole.

The signals that ask a command to end may come twice, and to all of its processes (`timeout` sends both). A signal that breaks off the
waiting for a pool leaves Python with workers that nobody ends, for which it then waits for ever: so inside they are only noted, and
their handlers are called between two results.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from gapo_cli.processes.orphans import end_with_parent
from gapo_cli.processes.signals import STOPPING, signals_noted

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(work: Callable[[Item], Result], items: Sequence[Item], workers: int, chunk: int) -> Iterator[Result]:
    """The results in the order of `items`, of which a worker takes `chunk` at a time."""
    with signals_noted() as call_handlers, ProcessPoolExecutor(workers, initializer=begin_worker) as pool:
        for result in pool.map(work, items, chunksize=chunk):
            call_handlers()
            yield result


def begin_worker() -> None:
    """Ctrl-C, which a terminal sends to every process, is left to the one that made the pool; any other signal ends a worker."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    end_with_parent()
