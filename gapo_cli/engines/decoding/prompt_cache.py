"""Keys and values of prompts, kept once for all completions of a group."""

from __future__ import annotations

import numpy as np
import torch


class PromptCache:
    """Some prompts of like length that were run together, one row each, right-padded to the longest.

    `lengths` (rows,); `layers`: for each layer keys and values (rows, kv heads, width, D). What stands right of a prompt is
    masked. Filled by running the model on the padded prompts with this as `shared_prefix`; a prompt longer than a chunk
    stands alone and is run chunk by chunk (`begin`)."""

    def __init__(self, lengths: np.ndarray, dtype: torch.dtype | None) -> None:
        """dtype: what keys and values are stored as; None: as the model makes them."""
        self.lengths = lengths
        self.dtype = dtype
        self.width = int(lengths.max())
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.mask: torch.Tensor | None = None
        self._start, self._causal = 0, None

    @property
    def tokens(self) -> int:
        """Places that it takes up, padding included."""
        return len(self.lengths) * self.width

    def begin(self, start: int, end: int, device: torch.device) -> None:
        """The next pass runs the places from `start` to `end`."""
        self._start, self._causal = start, None
        if start:
            self._causal = torch.ones(end - start, end, dtype=torch.bool, device=device).tril(start)

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        # causal attention needs no mask: what stands right of a token, padding included, it does not see
        dtype = self.dtype or key.dtype
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        end = self._start + key.shape[2]
        if end == self.width and not self._start:
            self.layers[layer] = key, value
        else:
            if not self._start:
                shape = (*key.shape[:2], self.width, key.shape[3])
                self.layers[layer] = key.new_empty(shape), value.new_empty(shape)
            for kept, states in zip(self.layers[layer], (key, value), strict=True):
                kept[:, :, self._start : end] = states
            key, value = (kept[:, :, :end] for kept in self.layers[layer])
        repeats = query.shape[1] // key.shape[1]
        if repeats > 1:  # copies are small beside a prompt's own cost, and every kernel takes them
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=self._causal, is_causal=self._causal is None, scale=scale
        )
        return output.transpose(1, 2)

    def finish(self) -> None:
        """All prompts are in: makes the mask (rows, 1, 1, width), added to scores, where there is padding."""
        if (self.lengths < self.width).any():
            keys, _ = self.layers[0]
            padding = torch.arange(self.width)[None] >= torch.from_numpy(self.lengths)[:, None]
            self.mask = torch.zeros(padding.shape).masked_fill(padding, -torch.inf)[:, None, None].to(keys.device, keys.dtype)

    def keep(self, rows: np.ndarray) -> None:
        """Lets go of all other rows, and of the places that only they had."""
        self.lengths = self.lengths[rows]
        self.width = int(self.lengths.max())
        chosen = torch.from_numpy(rows)
        for layer, (keys, values) in self.layers.items():
            at = chosen.to(keys.device)
            self.layers[layer] = keys[at, :, : self.width], values[at, :, : self.width]
        self.mask = None
        self.finish()
