"""Seeds made from seeds: what is drawn for one thing depends on nothing else that is drawn."""

from __future__ import annotations

import numpy as np


def derived_seed(seed: int, *path: int) -> int:
    """A 63-bit seed for one thing, from a seed above it and what tells the thing from all others: of a prompt its step and
    place, of a completion its index in the group. So neither batching nor resuming changes what is drawn for it."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0] >> np.uint64(1))
