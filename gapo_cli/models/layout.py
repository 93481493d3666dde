"""How groups of completions are laid out for one forward pass: packed (a group is one row) or padded (a row each).

Packed: [prompt][completion 1] ... [completion G] with positions that restart after the prompt, and a mask that lets a
completion see the prompt and itself. The prompt is computed once instead of G times; the log-probabilities and gradients
are those of the padded layout, which stays as the reference that tests compare with.

In both layouts the last token of a completion is a label only: nothing is predicted from it, so it is no input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

PADDING_SEGMENT = -1
PROMPT_SEGMENT = 0


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """One forward pass over R rows of T tokens that gives N completion tokens their log-probabilities.

    input_ids, position_ids: (R, T) int64, right padded. attention_mask: (R, 1, T, T) bool, True = may look at; padding
    looks at padding, so that no query is without a key (softmax over nothing is NaN); None: each token looks at all before
    it in its row, which is right where a row is one sequence. predictors: (N,) flat indices into
    R*T of the position whose hidden state predicts token n. labels: (N,) the tokens. completion_index: (N,) the
    completion, counted group by group, that token n belongs to. Tokens are in the order of the completions.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    predictors: torch.Tensor
    labels: torch.Tensor
    completion_index: torch.Tensor

    def to(self, device: torch.device | str) -> TokenBatch:
        values = {name: getattr(self, name) for name in self.__slots__}
        return replace(self, **{name: value.to(device) for name, value in values.items() if value is not None})


def pack(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]], pad_id: int) -> TokenBatch:
    """One row a group. prompts: token ids of each group's prompt, at least one each; completions: token ids of each
    group's completions (groups may differ in number and length). Raises ValueError for an empty prompt."""
    rows = []
    for prompt, group in zip(prompts, completions, strict=True):
        row = _Row(prompt)
        for completion in group:
            row.add(completion)
        rows.append(row)
    return _batch(rows, pad_id)


def pad(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]], pad_id: int) -> TokenBatch:
    """One row a completion: the prompt again, then the completion. Arguments, order and errors as `pack`."""
    rows = []
    for prompt, group in zip(prompts, completions, strict=True):
        for completion in group:
            row = _Row(prompt)
            row.add(completion)
            rows.append(row)
    return _batch(rows, pad_id)


class _Row:
    """One row as it grows: tokens, positions, the segment of each token and where each label is predicted from."""

    def __init__(self, prompt: Sequence[int]) -> None:
        if not len(prompt):
            raise ValueError("a prompt of no tokens: the first token of a completion needs something to be predicted from")
        self.prompt_length = len(prompt)
        self.tokens = list(prompt)
        self.positions = list(range(len(prompt)))
        self.segments = [PROMPT_SEGMENT] * len(prompt)
        self.completions: list[tuple[list[int], list[int]]] = []

    def add(self, completion: Sequence[int]) -> None:
        start, inputs = len(self.tokens), len(completion) - 1
        predictors = [self.prompt_length - 1, *range(start, start + inputs)] if len(completion) else []
        self.completions.append((predictors, list(completion)))
        self.tokens.extend(completion[:-1])
        self.positions.extend(range(self.prompt_length, self.prompt_length + inputs))
        self.segments.extend([len(self.completions)] * inputs)


def _batch(rows: Sequence[_Row], pad_id: int) -> TokenBatch:
    width = max(len(row.tokens) for row in rows)
    input_ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    position_ids = np.zeros((len(rows), width), dtype=np.int64)
    segments = np.full((len(rows), width), PADDING_SEGMENT, dtype=np.int64)
    predictors, labels, lengths = [], [], []
    for index, row in enumerate(rows):
        length = len(row.tokens)
        input_ids[index, :length] = row.tokens
        position_ids[index, :length] = row.positions
        segments[index, :length] = row.segments
        for columns, tokens in row.completions:
            predictors.extend(index * width + column for column in columns)
            labels.extend(tokens)
            lengths.append(len(tokens))
    return TokenBatch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        attention_mask=_attention_mask(torch.from_numpy(segments)),
        predictors=torch.tensor(predictors, dtype=torch.int64),
        labels=torch.tensor(labels, dtype=torch.int64),
        completion_index=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
    )


def _attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """segments: (R, T) → (R, 1, T, T) bool: earlier or same position, of the prompt or of the same segment."""
    width = segments.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    query, key = segments[:, :, None], segments[:, None, :]
    return (causal & ((key == PROMPT_SEGMENT) | (query == key)))[:, None]
