"""Sequences of a prompt and its one answer laid out for one forward pass: one in a row, or several beside each other.

For supervised training; groups of several answers to a prompt are laid out in models/layout.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gapo_cli.models.layout import TokenBatch
from gapo_cli.models.spans import PADDING_SEGMENT


def pack_sequences(rows: Sequence[Sequence[tuple[Sequence[int], Sequence[int]]]], pad_id: int) -> TokenBatch:
    """Rows of sequences, each a prompt, of at least one token, and its answer. A sequence sees itself only, and its positions
    begin at 0. The tokens of the batch are those of the answers, row by row. The last token of an answer is a label only."""
    width = max(sum(len(prompt) + len(answer) - 1 for prompt, answer in row) for row in rows)
    alone = max(map(len, rows)) == 1
    input_ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    # transformers takes positions that start again for several sequences: those of padding count on
    position_ids = np.tile(np.arange(width), (len(rows), 1)) if alone else np.zeros_like(input_ids)
    segments = np.full_like(input_ids, PADDING_SEGMENT)
    predictors, labels, lengths = [], [], []
    for index, row in enumerate(rows):
        start = 0
        for segment, (prompt, answer) in enumerate(row):
            end = start + len(prompt) + len(answer) - 1
            input_ids[index, start:end] = [*prompt, *answer[:-1]]
            position_ids[index, start:end] = np.arange(end - start)
            segments[index, start:end] = segment
            predictors.extend(range(index * width + start + len(prompt) - 1, index * width + end))
            labels.extend(answer)
            lengths.append(len(answer))
            start = end
    return TokenBatch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        attention_mask=None if alone else _attention_mask(torch.from_numpy(segments)),
        predictors=torch.tensor(predictors, dtype=torch.int64),
        labels=torch.tensor(labels, dtype=torch.int64),
        completion_index=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
    )


def _attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """segments: (R, T) → (R, 1, T, T) bool: earlier or same place of the same segment."""
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    return (causal & (segments[:, :, None] == segments[:, None, :]))[:, None]
