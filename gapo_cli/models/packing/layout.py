"""How groups of completions are laid out for one forward pass.

packed: [prompt][completion 1] ... [completion G][prompt of the next group] ... in one row, positions restarting after each
prompt and nothing padded; attention without a dense mask (models/shared_prefix.py).
masked: the same with a row a group and a dense mask, for models and devices that packed has no attention for.
padded: a row a completion, its prompt again before it: what trainers usually do, and the reference that tests compare with.

In the first two a completion sees the prompt and itself, and the prompt is computed once instead of G times;
log-probabilities and gradients are the same in all. The last token of a completion is a label only: nothing is predicted
from it, so it is no input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gapo_cli.models.packing.shared_prefix import shared_prefix_inputs
from gapo_cli.models.packing.spans import Span, dense_mask

Prompts = Sequence[Sequence[int]]
Completions = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """One forward pass over R rows of T tokens that gives N completion tokens their log-probabilities.

    input_ids, position_ids: (R, T) int64, right padded. Who may look at whom is said by `spans`, where the groups of the only
    row lie; or by attention_mask, (R, 1, T, T) bool as of `dense_mask`; where both are None a token looks at all before it
    in its row. predictors: (N,) flat indices into R*T of the position whose hidden state predicts token n. labels: (N,) the
    tokens. completion_index: (N,) the completion, counted group by group, that token n belongs to. Tokens are in the order
    of the completions.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    predictors: torch.Tensor
    labels: torch.Tensor
    completion_index: torch.Tensor
    spans: tuple[Span, ...] | None = None

    def to(self, device: torch.device | str) -> TokenBatch:
        values = {name: getattr(self, name) for name in self.__slots__}
        return replace(self, **{name: value.to(device) for name, value in values.items() if isinstance(value, torch.Tensor)})

    def inputs(self) -> dict[str, Any]:
        """What the trunk of a model is called with."""
        inputs = {"input_ids": self.input_ids, "position_ids": self.position_ids, "attention_mask": self.attention_mask}
        return inputs if self.spans is None else inputs | shared_prefix_inputs(self.spans, self.input_ids.device)


def pack(prompts: Prompts, completions: Completions, pad_id: int) -> TokenBatch:
    """All groups in one row. prompts: token ids of each group's prompt, at least one each; completions: token ids of each
    group's completions (groups may differ in number and length); pad_id: what fills up rows. Raises ValueError for an
    empty prompt."""
    row = _row(zip(prompts, completions, strict=True))
    return replace(_batch([row], pad_id), spans=tuple(row.spans))


def pack_masked(prompts: Prompts, completions: Completions, pad_id: int) -> TokenBatch:
    """A row a group, with a dense mask. Arguments and errors as `pack`."""
    rows = [_row([group]) for group in zip(prompts, completions, strict=True)]
    batch = _batch(rows, pad_id)
    return replace(batch, attention_mask=dense_mask([row.spans for row in rows], batch.input_ids.shape[1]))


def pad(prompts: Prompts, completions: Completions, pad_id: int) -> TokenBatch:
    """A row a completion: the prompt again, then the completion. Arguments and errors as `pack`."""
    groups = zip(prompts, completions, strict=True)
    rows = [_row([(prompt, [completion])]) for prompt, group in groups for completion in group]
    return _batch(rows, pad_id)


LAY_OUT = {"packed": pack, "masked": pack_masked, "padded": pad}
"""By the names of `trainer.layout`."""


def _row(groups: Iterable[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> _Row:
    row = _Row()
    for prompt, completions in groups:
        row.begin(prompt)
        for completion in completions:
            row.add(completion)
    return row


class _Row:
    """One row as it grows: tokens, positions, the span of each group and where each label is predicted from."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.prompts: list[range] = []
        self.inputs: list[list[range]] = []
        self.completions: list[tuple[list[int], Sequence[int]]] = []

    def begin(self, prompt: Sequence[int]) -> None:
        if not len(prompt):
            raise ValueError("a prompt of no tokens: the first token of a completion needs something to be predicted from")
        self.prompts.append(range(len(self.tokens), len(self.tokens) + len(prompt)))
        self.inputs.append([])
        self.tokens.extend(prompt)
        self.positions.extend(range(len(prompt)))

    def add(self, completion: Sequence[int]) -> None:
        prompt = self.prompts[-1]
        inputs = range(len(self.tokens), len(self.tokens) + max(len(completion) - 1, 0))
        self.inputs[-1].append(inputs)
        self.completions.append(([prompt.stop - 1, *inputs] if len(completion) else [], completion))
        self.tokens.extend(completion[:-1])
        self.positions.extend(range(len(prompt), len(prompt) + len(inputs)))

    @property
    def spans(self) -> list[Span]:
        return [Span(prompt, tuple(inputs)) for prompt, inputs in zip(self.prompts, self.inputs, strict=True)]


def _batch(rows: Sequence[_Row], pad_id: int) -> TokenBatch:
    width = max(len(row.tokens) for row in rows)
    input_ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    # positions of padding count on: transformers takes those that start again for another sequence
    position_ids = np.tile(np.arange(width), (len(rows), 1))
    predictors, labels, lengths = [], [], []
    for index, row in enumerate(rows):
        input_ids[index, : len(row.tokens)] = row.tokens
        position_ids[index, : len(row.tokens)] = row.positions
        for columns, tokens in row.completions:
            predictors.extend(index * width + column for column in columns)
            labels.extend(tokens)
            lengths.append(len(tokens))
    return TokenBatch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        attention_mask=None,
        predictors=torch.tensor(predictors, dtype=torch.int64),
        labels=torch.tensor(labels, dtype=torch.int64),
        completion_index=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
    )
