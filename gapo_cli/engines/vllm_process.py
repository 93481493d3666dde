"""What vLLM does to the process that it runs in, and what is done about it: environment, random state, threads, memory, modules."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process: weights are handed over as tensors
    "VLLM_NO_USAGE_STATS": "1",
}
DEFAULT_ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the trainer's threads are ours: trainer.threads rules both
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def collect_engines() -> None:
    """Frees engines that nobody holds any more, those of a sweep's earlier jobs: vLLM hides all that is there after its start
    from the garbage collector. This must happen before the next one starts, for the end of one closes what they share."""
    gc.unfreeze()
    gc.collect()


def imported(module: str, name: str) -> Any:
    """`name` of a module of vLLM. vLLM keeps errors that it catches at its imports, with them all frames that are under way then,
    and with those whatever engine they come to hold: a thread of its own has no other frames."""
    with ThreadPoolExecutor(max_workers=1) as alone:
        return alone.submit(lambda: getattr(importlib.import_module(module), name)).result()


def let_modules_be_searched() -> None:
    """On a CPU vLLM looks at what all loaded modules hold, and stumbles over llvmlite's library (numba's), which takes any
    name it is asked for as that of a function, `__dict__` too."""
    ffi = sys.modules.get("llvmlite.binding.ffi")
    if ffi is not None:
        ffi.lib._fntab.setdefault("__dict__", {})


def leave_the_ranks_together() -> None:
    """Where an engine ends, vLLM destroys the default process group. The ranks of a run have met in it before vLLM came, and go on."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return
    state = importlib.import_module("vllm.distributed.parallel_state")

    def destroy_what_is_vllms() -> None:
        if state._WORLD is not None and dist.is_initialized():
            state._WORLD.destroy()
        state._WORLD = state._NODE_COUNT = None

    state.destroy_distributed_environment = destroy_what_is_vllms


def set_environment() -> None:
    """vLLM reads its environment when it is first imported."""
    os.environ.update(ENVIRONMENT)
    for name, value in DEFAULT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would win over engine.kv_cache_gib
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])  # it speaks before it reads its own level


@contextlib.contextmanager
def process_state_kept() -> Iterator[None]:
    """vLLM seeds and draws from the random generators of the process, on a CPU replaces torch.set_num_threads and on a GPU calls
    it: the trainer's random state and threads must not depend on that."""
    import torch

    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.set_num_threads = set_threads
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            random.setstate(python)
            np.random.set_state(numpy)
