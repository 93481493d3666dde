"""What the processes of a run tell each other. A rank is the number of a process; rank 0 writes, and speaks.

Every rank makes the same calls in the same order, for each of them waits for all. `Ranks` is a process alone, which waits for
nobody; `gapo_cli.processes.group` makes the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gapo_cli.errors import EndedElsewhere

Value = TypeVar("Value")


def owners_of(sizes: Sequence[float], count: int) -> list[int]:
    """Which of `count` ranks does each piece of work: the largest first, each goes to the rank that has least (Graham 1969)."""
    filled, owners = [0.0] * count, [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        owner = filled.index(min(filled))
        owners[index] = owner
        filled[owner] += sizes[index]
    return owners


class LostRank(EndedElsewhere):
    """Another rank has ended, so this one cannot go on. The message says which and, where that is known, why."""


class ProcessesFailed(Exception):
    """The processes that this one has started have failed or were stopped, and rank 0 has said so. `exit_code`: what to end with."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Ranks:
    """One process that is all there are. What the calls mean for several is said here.

    `rank`: this process's number of `count`, of which `on_this_machine` run here. `look_for_stop` is called where a rank may leave
    off its own part of the work, and raises where it was asked to stop."""

    rank = 0
    count = 1
    on_this_machine = 1

    def __init__(self) -> None:
        self.look_for_stop: Callable[[], None] = lambda: None

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.count == 1

    def owners(self, sizes: Sequence[float]) -> list[int]:
        """The rank that does each piece of work."""
        return owners_of(sizes, self.count)

    def mine(self, sizes: Sequence[float]) -> list[bool]:
        """Which of the pieces are this rank's."""
        return [owner == self.rank for owner in self.owners(sizes)]

    def together(self, do: Callable[[], Value], *, waiting: bool = False) -> Value:
        """What `do`, this rank's part of the work, returns. Where it fails on any rank it has failed on all: the error of the
        lowest of them is raised on each. `do` must not wait for other ranks, unless it is said to (`waiting`): then it fails on
        this rank alone, and the others find that out when this one has ended."""
        return do()

    def from_first(self, do: Callable[[], Value]) -> Value:
        """What `do` returns or raises on rank 0, which alone does it."""
        return do()

    def gather(self, value: Value) -> list[Value]:
        """The value of each rank, by rank."""
        return [value]

    def total(self, value: Any) -> Any:
        """The sum of all ranks' values, the same number on each."""
        return functools.reduce(lambda one, other: one + other, self.gather(value))

    def sums(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of sums by name, which not every rank has all of, those over all ranks."""
        return dict(values)

    def add(self, tensors: Iterable[Any]) -> None:
        """Makes each tensor the sum of all ranks', in place. All ranks give tensors of the same shapes."""

    def all_agree(self, yes: bool) -> bool:
        """Whether every rank says yes."""
        return yes

    def greatest(self, number: int) -> int:
        return number

    def meet(self, where: str) -> bool:
        """Whether all ranks come to this place within some seconds. For a rank that has failed and does not know whether the
        others have: unlike all other calls it may be made by some ranks alone."""
        return True


ALONE = Ranks()


def by_first(method: Callable[..., Value]) -> Callable[..., Value]:
    """A method of an object with `ranks` that rank 0 runs alone; all get what it returns, or its error."""

    @functools.wraps(method)
    def run(self: Any, *arguments: Any, **keywords: Any) -> Value:
        return self.ranks.from_first(lambda: method(self, *arguments, **keywords))

    return run
