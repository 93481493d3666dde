"""Rollouts in plain torch with the policy's own weights: each prompt is run once, its completions share its cache, and
what is finished leaves the batch. Nothing of a model's generation_config acts here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from gapo_cli.config import SamplingConfig
from gapo_cli.engines.drawing import draw, uniforms
from gapo_cli.engines.grid import Grid
from gapo_cli.engines.token_answers import answer_text, check_prompts
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.records import Completion

if TYPE_CHECKING:  # rooms of one floor do not import each other
    from gapo_cli.models.load import LoadedModel

PREFILL_TOKENS = 2048
"""Prompt tokens run in one forward pass: enough to fill the machine, few enough for little padding and small activations."""


class TorchEngine:
    """Samples from `policy`, `max_rows` completions at a time. Larger: fewer passes; smaller: less memory for the cache.

    The random numbers of a token hang on its prompt's seed, the completion's index in the group and the token's place
    alone. So equal seed, prompt and weights give the same completions whatever else is in the batch, as far as floating
    point allows: in a different batch logits round differently in the sixth digit, and a number that falls between two
    roundings gives another token (with the nano model 2 of 54,000 tokens). The same batch gives the same tokens.
    """

    shares_weights = True

    def __init__(self, policy: LoadedModel, max_rows: int) -> None:
        if max_rows < 1:
            raise UserError(f"engine.max_rows={max_rows}: need at least 1")
        self.policy = policy
        self.max_rows = max_rows

    def sync(self, policy: LoadedModel) -> None:
        """Samples from `policy` from now on. Its weights are used where they are, so training it is all the syncing."""
        self.policy = policy

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        seeds: Sequence[int],
        progress: Progress = no_progress,
    ) -> list[tuple[Completion, ...]]:
        """`sampling.group_size` completions a prompt, in the order of `prompts`.

        Log-probabilities are those of the full distribution at `sampling.temperature` (at 1 where it is 0), not
        renormalised over what top-k and top-p leave. A completion ends at the first of the model's end tokens, which
        is part of `token_ids` and not of `text` ("stop"), or at `sampling.max_new_tokens` ("length"). Other special
        tokens stay in the text: templates use them as markers. Raises UserError for a prompt that is empty or does not
        leave room for `sampling.max_new_tokens` in the context.
        """
        check_prompts(prompts, sampling, self.policy.config.context_length)
        total = len(prompts) * sampling.group_size
        answers: list[list[Completion]] = [[] for _ in prompts]
        finished = 0
        for batch in self._batches(prompts, sampling.group_size):
            with self._sampling_mode():
                decoded = self._decode(batch, prompts, seeds, sampling, finished, total, progress)
            for piece, completions in zip(batch, self._completions(batch, prompts, decoded), strict=True):
                answers[piece.prompt].extend(completions)
                finished += piece.count
        return [tuple(group) for group in answers]

    def _batches(self, prompts: Sequence[Sequence[int]], group_size: int) -> Iterator[list[_Piece]]:
        """Pieces of groups, at most `max_rows` completions together; prompts of like length go together, the longest
        first, so that too small a memory shows at once. Only a group larger than `max_rows` is cut."""
        size = min(group_size, self.max_rows)
        batch: list[_Piece] = []
        for prompt in sorted(range(len(prompts)), key=lambda index: -len(prompts[index])):
            for start in range(0, group_size, size):
                piece = _Piece(prompt, start, min(size, group_size - start))
                if sum(other.count for other in batch) + piece.count > self.max_rows:
                    yield batch
                    batch = []
                batch.append(piece)
        if batch:
            yield batch

    @contextlib.contextmanager
    def _sampling_mode(self) -> Iterator[None]:
        model = self.policy.model
        training = model.training
        model.eval()
        try:
            with torch.inference_mode(), self.policy.autocast():
                yield
        finally:
            model.train(training)

    def _decode(
        self,
        batch: Sequence[_Piece],
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: SamplingConfig,
        finished: int,
        total: int,
        progress: Progress,
    ) -> _Decoded:
        model, device = self.policy.model, self.policy.device
        counts = np.array([piece.count for piece in batch])
        lengths = np.array([len(prompts[piece.prompt]) for piece in batch])
        decoded = _Decoded.empty(int(counts.sum()), sampling.max_new_tokens)
        numbers = None
        if sampling.temperature > 0:
            owners = [(seeds[piece.prompt], piece.start + place) for piece in batch for place in range(piece.count)]
            numbers = torch.from_numpy(uniforms(owners, sampling.max_new_tokens)).to(device)
        ends = np.array(self.policy.eos_token_ids)
        head = model.get_output_embeddings()
        stored_as = torch.bfloat16 if self.policy.dtype == "bfloat16" else None
        grid = Grid(model.get_decoder(), lengths, counts, sampling.max_new_tokens, stored_as)
        hidden = self._prefill(grid, [prompts[piece.prompt] for piece in batch])
        logits = head(hidden)[torch.from_numpy(grid.row).to(device)]  # the first token's: one row a prompt, then one a completion
        for place in range(sampling.max_new_tokens):
            here = None if numbers is None else numbers[torch.from_numpy(grid.sample).to(device), place]
            tokens, logprobs = (drawn.cpu().numpy() for drawn in draw(logits, here, sampling))
            stopped = np.isin(tokens, ends)
            decoded.add(grid.sample, place, tokens, logprobs, stopped)
            left = 0 if place + 1 == sampling.max_new_tokens else int((~stopped).sum())
            # those still being written count by the share of the token limit they have used, so that long answers show
            written = left * (place + 1) // sampling.max_new_tokens
            progress("sampling", finished + len(decoded.lengths) - left + written, total)
            if not left:
                break
            if stopped.any():
                grid.keep(~stopped)
            logits = head(grid.step(tokens[~stopped]))
        return decoded

    def _prefill(self, grid: Grid, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Hidden states (prompts, hidden size) of the prompts' last tokens; `prompts` are sorted, the longest first."""
        hidden, start = [], 0
        while start < len(prompts):
            width = len(prompts[start])
            rows = prompts[start : start + max(1, PREFILL_TOKENS // width)]
            tokens = np.full((len(rows), width), self.policy.pad_token_id, dtype=np.int64)
            for row, prompt in zip(tokens, rows, strict=True):
                row[: len(prompt)] = prompt
            hidden.append(grid.prefill(tokens, start))
            start += len(rows)
        grid.begin()
        return torch.cat(hidden)

    def _completions(
        self, batch: Sequence[_Piece], prompts: Sequence[Sequence[int]], decoded: _Decoded
    ) -> Iterator[tuple[Completion, ...]]:
        start = 0
        for piece in batch:
            yield tuple(
                self._completion(prompts[piece.prompt], decoded, row) for row in range(start, start + piece.count)
            )
            start += piece.count

    def _completion(self, prompt: Sequence[int], decoded: _Decoded, row: int) -> Completion:
        length, stopped = int(decoded.lengths[row]), bool(decoded.stopped[row])
        tokens = decoded.tokens[row, :length].tolist()
        return Completion(
            token_ids=tuple(tokens),
            logprobs=tuple(decoded.logprobs[row, :length].tolist()),
            text=answer_text(self.policy.tokenizer, prompt[-1], tokens[:-1] if stopped else tokens),
            finish_reason="stop" if stopped else "length",
        )


@dataclass(frozen=True, slots=True)
class _Piece:
    """`count` completions of one prompt, from the `start`-th of its group on."""

    prompt: int
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class _Decoded:
    """N completions as they grow. tokens, logprobs: (N, max_new_tokens); lengths, stopped: (N,)."""

    tokens: np.ndarray
    logprobs: np.ndarray
    lengths: np.ndarray
    stopped: np.ndarray

    @classmethod
    def empty(cls, count: int, max_new_tokens: int) -> _Decoded:
        return cls(
            tokens=np.zeros((count, max_new_tokens), dtype=np.int64),
            logprobs=np.zeros((count, max_new_tokens), dtype=np.float32),
            lengths=np.zeros(count, dtype=np.int64),
            stopped=np.zeros(count, dtype=bool),
        )

    def add(self, rows: np.ndarray, place: int, tokens: np.ndarray, logprobs: np.ndarray, stopped: np.ndarray) -> None:
        self.tokens[rows, place] = tokens
        self.logprobs[rows, place] = logprobs
        self.lengths[rows] = place + 1
        self.stopped[rows] = stopped
