"""How many bytes of tensors are alive at once: counted as operators make them, so the same on every machine."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Within this context `peak` is the largest sum of the storages that operators have made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        before = {id(leaf.untyped_storage()) for leaf in tree_leaves((arguments, keywords)) if isinstance(leaf, torch.Tensor)}
        result = function(*arguments, **(keywords or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf.untyped_storage(), before)
        return result

    def add(self, storage, before: set[int]) -> None:
        key = id(storage)
        if key in before or key in self.seen:  # a view, or written in place
            return
        size = storage.nbytes()
        self.seen.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self.remove, key, size)

    def remove(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.alive -= size
