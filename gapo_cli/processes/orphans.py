"""A process of a pool that outlives whoever started it waits for work for ever."""

from __future__ import annotations

import os
import threading
from multiprocessing import parent_process


def end_with_parent() -> None:
    """Ends this process of multiprocessing when the one that started it is gone, however that ended. A pool calls it first in each
    of its processes."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()
