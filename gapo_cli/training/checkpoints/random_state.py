"""The random states of Python, NumPy and torch as JSON and tensors. The loop itself draws from seeds of its own; these
are for whatever else draws in a user's reward, estimator or model."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

TORCH = "torch"
CUDA = "cuda"


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_values() -> dict[str, Any]:
    """Python's and NumPy's states, JSON-ready."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
    }


def random_tensors() -> dict[str, torch.Tensor]:
    """torch's states: name → uint8 tensor; one more for each CUDA device."""
    states = {TORCH: torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"{CUDA}.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random(values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of both. States of CUDA devices that this machine lacks are passed over."""
    version, internal, gauss = values["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = values["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(tensors[TORCH])
    for index in range(torch.cuda.device_count()):
        if f"{CUDA}.{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"{CUDA}.{index}"], index)
