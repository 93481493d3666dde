"""Completions as they are written: each has a cell with its own keys and values, and looks into its prompt's cache.

All cells take part in a step, whatever their prompts and however far they are: their newest tokens go through the model as
one row, so that nothing is padded but in the attention itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gapo_cli.engines.decoding.prompt_cache import PromptCache
from gapo_cli.models.packing.merged_attention import attention_with_weight, merged

FIRST_CAPACITY = 32
"""Tokens a cell has room for at first; doubled when needed, up to the limit, so that short answers take little."""

PER_CELL = ("sample", "newest", "cache", "row", "length", "prompt_length")


class Cells:
    """N unfinished completions. Of each, (N,): `sample`, which completion it is; `newest`, its last token, not stored yet;
    `cache` and `row`, which of `caches` its prompt is in, and in which row there; `length`, how many of its tokens are
    stored; `prompt_length`."""

    def __init__(self, limit: int, dtype: torch.dtype | None, device: torch.device) -> None:
        """limit: tokens a completion may have; dtype: what keys and values are stored as, None: as the model makes them."""
        self.limit, self.dtype, self.device = limit, dtype, device
        self.caches: list[PromptCache] = []
        self.sample = self.newest = self.cache = self.row = self.length = self.prompt_length = np.zeros(0, dtype=np.int64)
        self.layers: dict[int, list[torch.Tensor]] = {}
        """For each layer keys and values (at least N, capacity, key-value heads, D)."""
        self.capacity = 0

    def __len__(self) -> int:
        return len(self.sample)

    def add(self, cache: PromptCache, row: np.ndarray, sample: np.ndarray, newest: np.ndarray) -> None:
        """New completions (n,) of prompts that have just been run, those in `row` (n,) of `cache`, and their first tokens."""
        none = np.zeros(len(row), dtype=np.int64)
        new = {
            "sample": sample,
            "newest": newest,
            "cache": none + len(self.caches),
            "row": row,
            "length": none,
            "prompt_length": cache.lengths[row],
        }
        self.caches.append(cache)
        for name in PER_CELL:
            setattr(self, name, np.concatenate([getattr(self, name), new[name]]))

    def keep(self, kept: np.ndarray) -> None:
        """Lets the completions go for which `kept` (N,) is False, and the prompts that no other completion reads."""
        if kept.all():
            return
        count = int(kept.sum())
        # cells beyond the new count move into the places of those that leave: only they are copied
        order = np.arange(count)
        order[~kept[:count]] = count + np.flatnonzero(kept[count:])
        moved = np.flatnonzero(order != np.arange(count))
        if len(moved):
            used = int(self.length[order].max())
            target, source = torch.from_numpy(moved).to(self.device), torch.from_numpy(order[moved]).to(self.device)
            for states in (states for layer in self.layers.values() for states in layer):
                states[target, :used] = states[source, :used]
        for name in PER_CELL:
            setattr(self, name, getattr(self, name)[order])
        self._keep_prompts()

    def step(self) -> Step:
        """A pass over the newest token of every cell; `advance` ends it."""
        self._reserve(int(self.length.max()) + 1)
        return Step(self)

    def advance(self, newest: np.ndarray) -> None:
        """The tokens of the last pass are stored, and `newest` (N,) follow them."""
        self.length, self.newest = self.length + 1, newest

    def store(self, layer: int, places: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> list[torch.Tensor]:
        """key, value (N, key-value heads, D) into flat places (N,) of cells x capacity; the layer's keys and values."""
        if layer not in self.layers:
            shape = (len(self), self.capacity, *key.shape[1:])
            self.layers[layer] = [states.new_zeros(shape, dtype=self.dtype) for states in (key, value)]
        for kept, states in zip(self.layers[layer], (key, value), strict=True):
            kept.view(-1, *states.shape[1:]).index_copy_(0, places, states.to(kept.dtype))
        return self.layers[layer]

    def _keep_prompts(self) -> None:
        used = np.unique(self.cache)
        self.caches = [self.caches[index] for index in used]
        self.cache = np.searchsorted(used, self.cache)
        for index, cache in enumerate(self.caches):
            mine = self.cache == index
            rows = np.unique(self.row[mine])
            if 2 * len(rows) <= len(cache.lengths):  # copying what stays is worth it once half has gone
                cache.keep(rows)
                self.row[mine] = np.searchsorted(rows, self.row[mine])

    def _reserve(self, tokens: int) -> None:
        """Room for all cells and `tokens` each."""
        if tokens > self.capacity:
            self.capacity = min(self.limit, max(FIRST_CAPACITY, 2 * self.capacity, tokens))
        for layer in self.layers.values():
            for index, states in enumerate(layer):
                cells, capacity = states.shape[:2]
                if cells < len(self) or capacity < self.capacity:
                    larger = states.new_zeros(max(cells, len(self)), self.capacity, *states.shape[2:])
                    larger[:cells, :capacity] = states
                    layer[index] = larger


@dataclass(frozen=True, slots=True)
class _Reading:
    """How cells stand before one PromptCache: `grid` (rows * columns,), row by row the cells that read it; where a row has
    fewer than others, cell 0 fills it up."""

    cache: PromptCache
    grid: torch.Tensor
    columns: int


class Step:
    """One pass over N tokens, one a cell: the `shared_prefix` of that pass. `position` (N,): where they stand."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.position = cells.prompt_length + cells.length
        self.places = self._tensor(np.arange(len(cells)) * cells.capacity + cells.length)
        self.longest = int(cells.length.max()) + 1
        self.mask = self._mask()
        self.readings, back = self._readings()
        self.back = self._tensor(back)

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """query (1, H, N, D), key and value (1, key-value heads, N, D)."""
        key, value = key[0].transpose(0, 1), value[0].transpose(0, 1)
        keys, values = self.cells.store(layer, self.places, key, value)
        count, heads, width = key.shape
        # the query heads that share a key head stand beside each other, so that no key is copied for them
        query = query[0].transpose(0, 1).reshape(count, heads, -1, width).to(keys.dtype)  # (N, key-value heads, queries, D)
        keys, values = (states[:count, : self.longest].transpose(1, 2) for states in (keys, values))
        own, own_weight = attention_with_weight(query, keys, values, self.mask, scale)
        read, read_weight = self._read(layer, query, scale)
        return merged(read, read_weight, own, own_weight).reshape(1, count, -1, width)

    def _read(self, layer: int, query: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        """What the queries (N, heads, group, D) make of their prompts."""
        _, heads, group, width = query.shape
        outputs, weights = [], []
        for reading in self.readings:
            keys, values = reading.cache.layers[layer]
            rows, columns = len(keys), reading.columns
            grid = query[reading.grid].view(rows, columns, heads, group, width).transpose(1, 2)
            output, weight = attention_with_weight(
                grid.reshape(rows, heads, columns * group, width), keys, values, reading.cache.mask, scale
            )
            outputs.append(output.view(rows, heads, columns, group, width).transpose(1, 2).reshape(-1, heads, group, width))
            weights.append(weight.view(rows, heads, columns, group).transpose(1, 2).reshape(-1, heads, group))
        return torch.cat(outputs)[self.back], torch.cat(weights)[self.back]

    def _mask(self) -> torch.Tensor | None:
        """(N, 1, 1, longest), added to scores: what a shorter cell has not written yet is hidden."""
        length = self.cells.length
        if (length + 1 == self.longest).all():
            return None
        hidden = torch.from_numpy(np.arange(self.longest)[None] > length[:, None])
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)[:, None, None]
        return mask.to(self.cells.device, self.cells.dtype or torch.float32)

    def _readings(self) -> tuple[list[_Reading], np.ndarray]:
        """How the cells stand before their prompts, and (N,) where in all the grids together each one's result is."""
        cells, readings, offset = self.cells, [], 0
        back = np.empty(len(cells), dtype=np.int64)
        for index, cache in enumerate(cells.caches):
            mine = np.flatnonzero(cells.cache == index)
            mine = mine[np.argsort(cells.row[mine], kind="stable")]
            row = cells.row[mine]
            column = np.arange(len(mine)) - np.searchsorted(row, row)
            grid = np.zeros((len(cache.lengths), int(column.max()) + 1), dtype=np.int64)
            grid[row, column] = mine
            back[mine] = offset + row * grid.shape[1] + column
            offset += grid.size
            readings.append(_Reading(cache, self._tensor(grid.ravel()), grid.shape[1]))
        return readings, back

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.cells.device)
