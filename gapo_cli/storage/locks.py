"""One process a folder: a lock that dies with its holder, and a sentence that names the holder.

filelock locks the open file `.lock`, not its name, so nothing stale is left by a process that was killed. Where the file
system or the system has no such locks, the work goes on without one, and the caller is told.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from gapo_cli.errors import StorageError
from gapo_cli.storage.files import storage_errors

LOCK = ".lock"
NOT_SUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[bool]:
    """Keeps other processes out of `folder`, which is made where it is missing. Yields whether it could be locked. Raises
    StorageError where another process holds it, naming that, or where the folder cannot be written."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        locked = _try_lock(descriptor)
        if locked is None:
            raise StorageError(f"{folder}: {_holder(descriptor)} is at work there; wait for its end, or name another folder")
        if locked:
            holder = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.now().astimezone().isoformat(timespec="seconds"),
            }
            with storage_errors(folder / LOCK):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield locked
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether another process is at work in `folder`."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return _try_lock(descriptor) is None
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool | None:
    """True: it is ours; False: there are no locks here; None: another process has it."""
    from filelock import lock_descriptor

    try:
        return lock_descriptor(descriptor, blocking=False) or None
    except OSError as error:
        if error.errno in NOT_SUPPORTED:
            return False
        raise


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 1 << 12, 0))
        return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"
    except (ValueError, KeyError, TypeError):  # it has locked and not yet said who it is
        return "another process"
