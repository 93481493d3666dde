"""Several ranks over torch.distributed: gloo between processors, NCCL for tensors on GPUs. Nothing else knows that module.

A rank that ends leaves its connections, so those that wait for it find out at once. What it had to say it has left in the store
that all of them share; one that was killed says nothing, and is known by its process.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from gapo_cli.errors import PartError, UserError, first_line, words_of
from gapo_cli.processes.place import Place
from gapo_cli.processes.ranks import ALONE, LostRank, Ranks, Value
from gapo_cli.processes.signals import STOPPING

JOINING = timedelta(minutes=10)
"""How long the first process waits for the last one."""
WAITING = timedelta(hours=2)
"""How long a rank waits for another's work, such as rank 0's preparing of data. A process that ends is noticed at once."""
MESSAGE = 1 << 24
"""Numbers that are summed in one message, 64 MiB of float32: large ones cost no more a number, and need a copy."""
MEETING = timedelta(seconds=20)
LOOKING_SECONDS = 2.0
"""A killed process closes its connections some moments before the system calls it dead."""


@contextlib.contextmanager
def joined(place: Place) -> Iterator[Ranks]:
    """All ranks of a run, met. Raises UserError where they do not all come. What this rank ends with is told to the others."""
    if place.alone:
        yield ALONE
        return
    ranks = join(place)
    try:
        yield ranks
    except BaseException as error:
        ranks.tell_end(error)
        raise
    ranks.leave()


def join(place: Place) -> SeveralRanks:
    import torch
    import torch.distributed as dist

    try:
        store, rank, count = next(dist.rendezvous("env://", timeout=JOINING))
        store.set(f"process/{rank}", json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        names = [f"process/{number}" for number in range(count)]
        store.wait(names, JOINING)
        processes = [json.loads(store.get(name)) for name in names]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=WAITING)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"WORLD_SIZE={place.count}: the processes of this run do not find each other at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} ({first_line(error)}); start all of them by torchrun, or trainer.processes=N"
        ) from error
    return SeveralRanks(place, store, processes)


class SeveralRanks(Ranks):
    """One of several processes. `processes`: host and process id of each."""

    def __init__(self, place: Place, store: Any, processes: list[dict[str, Any]]) -> None:
        super().__init__()
        self.rank, self.count, self.on_this_machine = place.rank, place.count, place.local_count
        self.store, self.processes = store, processes

    def together(self, do: Callable[[], Value], *, waiting: bool = False) -> Value:
        if waiting:
            with self._exchange(_is_lost_connection):
                return do()
        value, failure = None, None
        try:
            value = do()
        except LostRank:
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, all must hear of it
            failure = error
        if self.all_agree(failure is None):
            return value
        told = self.gather(None if failure is None else Told.of(failure, self.rank))
        first = next(one for one in told if one is not None)
        raise failure if first.rank == self.rank else first.error()

    def from_first(self, do: Callable[[], Value]) -> Value:
        if not self.first:
            value, told = self._broadcast(None)
            if told is not None:
                raise told.error()
            return value
        try:
            value = do()
        except LostRank:
            raise
        except (Exception, KeyboardInterrupt) as error:
            self._broadcast((None, Told.of(error, self.rank)))
            raise
        self._broadcast((value, None))
        return value

    def gather(self, value: Value) -> list[Value]:
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        with self._exchange():
            dist.all_gather_object(found, value)
        return found

    def sums(self, values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for of_rank in self.gather({name: _here(value) for name, value in values.items()}):
            for name, value in of_rank.items():
                found[name] = found[name] + value if name in found else value
        return found

    def add(self, tensors: Iterable[Any]) -> None:
        """One message for many tensors of a kind, and no copy of all gradients at once."""
        import torch
        import torch.distributed as dist

        for some in _messages(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in some])
            with self._exchange():
                dist.all_reduce(flat)
            for tensor, total in zip(some, flat.split([tensor.numel() for tensor in some]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def all_agree(self, yes: bool) -> bool:
        return self.greatest(0 if yes else 1) == 0

    def greatest(self, number: int) -> int:
        import torch
        import torch.distributed as dist

        found = torch.tensor(number)
        with self._exchange():
            dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return int(found)

    def meet(self, where: str) -> bool:
        self.store.set(f"meeting/{where}/{self.rank}", "here")
        try:
            self.store.wait([f"meeting/{where}/{rank}" for rank in range(self.count)], MEETING)
        except RuntimeError:
            return False
        return True

    def tell_end(self, error: BaseException) -> None:
        """Leaves word of what this rank ends with; nothing where it ends because another has."""
        word = "" if isinstance(error, LostRank) else "stopped" if isinstance(error, KeyboardInterrupt) else first_line(error)
        with contextlib.suppress(RuntimeError):  # who kept the store is gone
            self.store.set(f"end/{self.rank}", word)

    def leave(self) -> None:
        """After the last call, on all ranks."""
        import gc

        import torch.distributed as dist

        gc.unfreeze()
        gc.collect()  # an engine of vLLM's holds groups of its own, which must go first
        dist.destroy_process_group()

    def _broadcast(self, value: Any) -> Any:
        import torch.distributed as dist

        holder = [value]
        with self._exchange():
            dist.broadcast_object_list(holder, src=0)
        return holder[0]

    @contextlib.contextmanager
    def _exchange(self, is_lost: Callable[[RuntimeError], bool] = lambda error: True) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if not is_lost(error):
                raise
            for number in STOPPING:  # the launcher now ends all ranks; this one is ending, and has something to say first
                signal.signal(number, signal.SIG_IGN)
            raise LostRank(self._what_was_lost()) from error

    def _what_was_lost(self) -> str:
        until = time.monotonic() + LOOKING_SECONDS
        while True:
            words = {rank: self._last_word(rank) for rank in range(self.count) if rank != self.rank}
            silent = [rank for rank, word in words.items() if word is None]
            for rank, word in words.items():
                if word:
                    return f"rank {rank}: {word}"
            for rank in silent:
                if self._is_dead(rank):
                    return f"rank {rank} ({self._process(rank)}) was killed"
            if time.monotonic() > until:
                return " or ".join(f"rank {rank} ({self._process(rank)})" for rank in silent or words) + " is gone"
            time.sleep(0.02)

    def _last_word(self, rank: int) -> str | None:
        try:
            return self.store.get(f"end/{rank}").decode() if self.store.check([f"end/{rank}"]) else None
        except RuntimeError:
            return None

    def _is_dead(self, rank: int) -> bool:
        """Of a process on this machine. A dead one that nobody has asked about is still in the list."""
        process = self.processes[rank]
        if process["host"] != self.processes[self.rank]["host"]:
            return False
        try:
            state = Path(f"/proc/{process['pid']}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state in "ZX"

    def _process(self, rank: int) -> str:
        return f"process {self.processes[rank]['pid']} on {self.processes[rank]['host']}"


def _is_lost_connection(error: RuntimeError) -> bool:
    """Of an error in work that computes too: whether another rank is gone."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def _messages(tensors: Iterable[Any]) -> Iterator[list[Any]]:
    """The tensors, those of one dtype and device together, cut after `MESSAGE` numbers."""
    kinds: dict[Any, list[Any]] = {}
    for tensor in tensors:
        waiting = kinds.setdefault((tensor.dtype, tensor.device), [])
        waiting.append(tensor)
        if sum(one.numel() for one in waiting) >= MESSAGE:
            yield waiting
            kinds[tensor.dtype, tensor.device] = []
    yield from filter(None, kinds.values())


class Told:
    """An error as another rank raises it: of the same kind where that can be made of a sentence."""

    def __init__(self, rank: int, kind: type[BaseException], *arguments: Any) -> None:
        self.rank, self.kind, self.arguments = rank, kind, arguments

    @classmethod
    def of(cls, error: BaseException, rank: int) -> Told:
        kind: type[BaseException] = type(error)
        if isinstance(error, KeyboardInterrupt):
            return cls(rank, kind, error.args[0] if error.args else signal.SIGINT)
        try:
            pickle.dumps(kind)
            kind("")
        except Exception:  # noqa: BLE001 - a class of somebody's own, that only exists there or wants more than a sentence
            kind = RuntimeError
        sentence = words_of(error) if kind is type(error) else f"{type(error).__name__}: {words_of(error)}"
        # a part's failure comes with the batch that it failed on, or not all ranks would keep that
        batch = (error.batch,) if kind is PartError else ()
        return cls(rank, kind, sentence if rank == 0 else f"rank {rank}: {sentence}", *batch)

    def error(self) -> BaseException:
        return self.kind(*self.arguments)


def _here(value: Any) -> Any:
    """A number, or a tensor on no device that another process has not."""
    return value.cpu() if hasattr(value, "cpu") else value
