"""Decoding state in which the completions of a group share their prompt's keys and values.

A group is one row of the model's batch and a decoding step gives it one query for each of its unfinished completions:
input (rows, columns), cell = completion. The cache of a row holds the prompt once and then, step by step, one key a cell;
a mask lets a cell see the prompt and its own tokens. So a step reads each prompt once, not G times, with the
model's own attention: nothing in it is replaced.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class RoomyLayer(CacheLayerMixin):
    """Keys and values (rows, heads, capacity, width) of one layer, allocated when first written, then written in place.
    `rows`: the slice of rows that the next forward pass works on. `length`: the columns that are filled."""

    def __init__(self, row_count: int, capacity: int, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.row_count, self.capacity, self.stored_as = row_count, capacity, dtype
        self.rows = slice(0, row_count)
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = (
            states.new_zeros(self.row_count, states.shape[1], self.capacity, states.shape[3], dtype=self.stored_as or states.dtype)
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        self.keys[self.rows, :, self.length : end] = key_states
        self.values[self.rows, :, self.length : end] = value_states
        return self.keys[self.rows, :, :end], self.values[self.rows, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


class Grid:
    """The unfinished completions of a batch of groups and the cache they are decoded with.

    `sample`, `row`, `column`: (N,) which completion (counted group by group, `width` a group) sits in which cell; a cell
    without one repeats its row's first. All completions of a grid have the same number of tokens.
    """

    def __init__(self, trunk: torch.nn.Module, lengths: np.ndarray, counts: np.ndarray, room: int, dtype: torch.dtype | None) -> None:
        """lengths: (rows,) tokens of the prompts; counts: (rows,) completions of each; room: tokens a completion may have."""
        self.trunk = trunk
        self.device = next(trunk.parameters()).device
        self.lengths = lengths
        self.row = np.repeat(np.arange(len(counts)), counts)
        self.column = np.concatenate([np.arange(count) for count in counts])
        self.sample = np.arange(len(self.row))
        self.prompt_width, self.generated = int(lengths.max()), 0
        capacity = self.prompt_width + int(counts.max()) * room
        layers = trunk.config.get_text_config().num_hidden_layers
        self.cache = Cache(layers=[RoomyLayer(len(lengths), capacity, dtype) for _ in range(layers)])
        visible = torch.arange(capacity)[None] < torch.from_numpy(lengths)[:, None]
        self.mask = visible[:, None, None].repeat(1, 1, int(counts.max()), 1).to(self.device)  # (rows, 1, columns, capacity)

    def prefill(self, tokens: np.ndarray, start: int) -> torch.Tensor:
        """Runs the right-padded prompts (rows, T) of the rows from `start` on; the hidden states of their last tokens."""
        rows = slice(start, start + len(tokens))
        for layer in self.cache.layers:
            layer.rows, layer.length = rows, 0
        # causal attention needs no mask: what stands right of a token, padding included, it does not see
        hidden = self._forward(tokens, np.tile(np.arange(tokens.shape[1]), (len(tokens), 1)), None)
        return hidden[torch.arange(len(tokens)), torch.from_numpy(self.lengths[rows] - 1)]

    def begin(self) -> None:
        """All prompts are in: from here on all rows are decoded together."""
        for layer in self.cache.layers:
            layer.rows, layer.length = slice(0, len(self.lengths)), self.prompt_width

    def step(self, tokens: np.ndarray) -> torch.Tensor:
        """Feeds each completion its newest token (N,); returns the hidden states (N, hidden size) that predict the next."""
        rows, _, columns, _ = self.mask.shape
        filled = self.cache.layers[0].length
        self.mask[:, 0, :, filled : filled + columns] = torch.eye(columns, dtype=torch.bool, device=self.device)
        cells = np.zeros((rows, columns), dtype=np.int64)
        cells[self.row, self.column] = tokens
        positions = np.repeat(self.lengths[:, None] + self.generated, columns, axis=1)
        hidden = self._forward(cells, positions, self.mask[..., : filled + columns])
        self.generated += 1
        for layer in self.cache.layers:
            layer.length = filled + columns
        return hidden.flatten(0, 1)[torch.from_numpy(self.row * columns + self.column).to(self.device)]

    def keep(self, kept: np.ndarray) -> None:
        """Lets the completions go for which `kept` (N,) is False, and with them the columns and rows left empty."""
        if kept.all():
            return
        self.sample, self.row, self.column = self.sample[kept], self.row[kept], self.column[kept]
        row_count = len(np.unique(self.row))
        # rows beyond the new count move into the places of finished ones: only they are copied
        free = np.setdiff1d(np.arange(row_count), self.row)
        moved = np.unique(self.row[self.row >= row_count])
        old_rows = np.arange(row_count)
        old_rows[free] = moved
        self._move_rows(moved, free, row_count)
        new_row = np.zeros(len(self.lengths), dtype=np.int64)
        new_row[old_rows] = np.arange(row_count)
        self.row = new_row[self.row]
        order = np.lexsort((self.column, self.row))
        first = np.searchsorted(self.row[order], np.arange(row_count))
        new_column = np.empty_like(self.column)
        new_column[order] = np.arange(len(order)) - first[self.row[order]]
        old_columns = np.repeat(self.column[order][first][:, None], int(new_column.max()) + 1, axis=1)
        old_columns[self.row, new_column] = self.column
        self.column = new_column
        self.lengths = self.lengths[old_rows]
        self.mask = self.mask[torch.from_numpy(old_rows)[:, None], :, torch.from_numpy(old_columns)].transpose(1, 2)

    def _move_rows(self, sources: np.ndarray, targets: np.ndarray, row_count: int) -> None:
        sources, targets = torch.from_numpy(sources).to(self.device), torch.from_numpy(targets).to(self.device)
        for layer in self.cache.layers:
            for states in (layer.keys, layer.values):
                states[targets, :, : layer.length] = states[sources, :, : layer.length]
            layer.rows = slice(0, row_count)

    def _forward(self, tokens: np.ndarray, positions: np.ndarray, mask: torch.Tensor | None) -> torch.Tensor:
        return self.trunk(
            input_ids=torch.from_numpy(tokens).to(self.device),
            position_ids=torch.from_numpy(positions).to(self.device),
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
