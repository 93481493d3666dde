"""One call of the torch engine: which prompts are in, what each completion has written, and when the next prompt gets in."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.decoding.completion_cache import Cells, Step
from gapo_cli.engines.decoding.drawing import draw, uniforms
from gapo_cli.engines.decoding.prompt_cache import PromptCache
from gapo_cli.engines.stop_texts import StopTexts
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Progress
from gapo_cli.quantities import GIBIBYTE

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel

PREFILL_TOKENS = 2048
"""Tokens of short prompts that are run in one pass: enough to fill the machine, few enough for little padding."""
WORTH_A_PASS = 256
"""Prompt tokens from which on more of them in a pass make none cheaper: so many are waited for before cells are refilled."""
CHUNK_TOKENS = 4096
"""A prompt that is longer is run in pieces of this size, so that activations stay small."""


def bytes_per_token(layers: int, key_value_heads: int, head_size: int, dtype: str) -> int:
    """Of keys and values in all layers; `dtype`: what the policy computes in."""
    return 2 * layers * key_value_heads * head_size * (2 if dtype == "bfloat16" else 4)


@dataclass(frozen=True, slots=True)
class Written:
    """N completions as they grow. tokens, logprobs: (N, max_new_tokens); lengths, stopped: (N,)."""

    tokens: np.ndarray
    logprobs: np.ndarray
    lengths: np.ndarray
    stopped: np.ndarray

    @classmethod
    def empty(cls, count: int, max_new_tokens: int) -> Written:
        return cls(
            tokens=np.zeros((count, max_new_tokens), dtype=np.int64),
            logprobs=np.zeros((count, max_new_tokens), dtype=np.float32),
            lengths=np.zeros(count, dtype=np.int64),
            stopped=np.zeros(count, dtype=bool),
        )

    def add(self, samples: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray, stopped: np.ndarray) -> None:
        place = self.lengths[samples]
        self.tokens[samples, place] = tokens
        self.logprobs[samples, place] = logprobs
        self.lengths[samples] = place + 1
        self.stopped[samples] = stopped


@dataclass(frozen=True, slots=True)
class _Piece:
    """`count` completions of one prompt, from the `start`-th of its group on."""

    prompt: int
    start: int
    count: int


class Decoding:
    """Prompts wait, the longest first, so that too small a memory shows at once. As many groups are in at a time as
    `max_rows` completions and `kv_cache_gib` of keys and values allow, each completion counted at its token limit; when
    enough have finished, the next get in. A group that is too large alone is cut, and its prompt run for each part."""

    def __init__(
        self,
        policy: LoadedModel,
        max_rows: int,
        kv_cache_gib: float,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: SamplingConfig,
        progress: Progress,
    ) -> None:
        self.policy, self.prompts, self.sampling, self.progress = policy, prompts, sampling, progress
        self.device = torch.device(policy.device)
        self.trunk, self.head = policy.model.get_decoder(), policy.model.get_output_embeddings()
        self.stored_as = torch.bfloat16 if policy.dtype == "bfloat16" else None
        # a mask of four dimensions is passed on as it is, so that transformers makes none of its own
        self.no_mask = torch.zeros(1, 1, 1, 1, device=self.device)
        self.ends = np.array(policy.eos_token_ids)
        self.stop_texts = StopTexts(policy.tokenizer, sampling.stop) if sampling.stop else None
        self.limit = sampling.max_new_tokens
        total = len(prompts) * sampling.group_size
        self.written = Written.empty(total, self.limit)
        self.cells = Cells(self.limit, self.stored_as, self.device)
        self.numbers = None
        if sampling.temperature > 0:
            owners = [(seed, place) for seed in seeds for place in range(sampling.group_size)]
            self.numbers = torch.from_numpy(uniforms(owners, self.limit)).to(self.device)
        self.max_rows = max_rows
        settings = self.trunk.config.get_text_config()
        heads = getattr(settings, "num_key_value_heads", None) or settings.num_attention_heads
        head_size = getattr(settings, "head_dim", None) or settings.hidden_size // settings.num_attention_heads
        of_token = bytes_per_token(settings.num_hidden_layers, heads, head_size, policy.dtype)
        self.max_tokens = int(kv_cache_gib * GIBIBYTE) // of_token
        self.waiting = deque(self._pieces())
        self.begun = 0

    def run(self) -> Written:
        while self.waiting or len(self.cells):
            for pieces in self._admitted():
                self._start(pieces)
                self._report()
            if len(self.cells):
                self._step()
                self._report()
        return self.written

    def _start(self, pieces: list[_Piece]) -> None:
        """Runs the prompts, which are sorted, the longest first, and draws the first token of their completions."""
        cache, hidden = self._prefill([self.prompts[piece.prompt] for piece in pieces])
        row = np.repeat(np.arange(len(pieces)), [piece.count for piece in pieces])
        size = self.sampling.group_size
        samples = np.concatenate([piece.prompt * size + piece.start + np.arange(piece.count) for piece in pieces])
        tokens, goes_on = self._take(self.head(hidden)[self._tensor(row)], samples)
        self.begun += len(samples)
        if goes_on.any():
            self.cells.add(cache, row[goes_on], samples[goes_on], tokens[goes_on])

    def _step(self) -> None:
        """One more token for every completion."""
        step = self.cells.step()
        hidden = self._forward(self.cells.newest[None], step.position[None], step)[0]
        tokens, goes_on = self._take(self.head(hidden), self.cells.sample)
        self.cells.advance(tokens)
        self.cells.keep(goes_on)

    def _take(self, logits: torch.Tensor, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draws the next token of each of `samples` (n,) from logits (n, vocabulary): the tokens, and who goes on."""
        places = self.written.lengths[samples]
        numbers = None if self.numbers is None else self.numbers[self._tensor(samples), self._tensor(places)]
        tokens, logprobs = (drawn.cpu().numpy() for drawn in draw(logits, numbers, self.sampling))
        stopped = np.isin(tokens, self.ends)
        self.written.add(samples, tokens, logprobs, stopped)
        if self.stop_texts is not None:
            stopped |= self._over(samples)
            self.written.stopped[samples] = stopped
        return tokens, ~stopped & (places + 1 < self.limit)

    def _over(self, samples: np.ndarray) -> np.ndarray:
        """Whose newest token ends a stop text, (n,)."""
        lengths = self.written.lengths[samples]
        rows = zip(samples, lengths, strict=True)
        return np.array([self.stop_texts.over(self.written.tokens[sample, :length]) for sample, length in rows], dtype=bool)

    def _report(self) -> None:
        """Completions count as far as they have used their token limit, so that long answers show."""
        unfinished = self.cells.sample
        used = int(self.written.lengths[unfinished].sum()) // self.limit
        self.progress("sampling", self.begun - len(unfinished) + used, len(self.written.lengths))

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[PromptCache, torch.Tensor]:
        """The cache of prompts and the hidden states (prompts, hidden size) of their last tokens."""
        cache = PromptCache(np.array([len(prompt) for prompt in prompts]), self.stored_as)
        tokens = np.full((len(prompts), cache.width), self.policy.pad_token_id, dtype=np.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: len(prompt)] = prompt
        for start in range(0, cache.width, CHUNK_TOKENS):
            chunk = tokens[:, start : start + CHUNK_TOKENS]
            places = np.arange(start, start + chunk.shape[1])
            cache.begin(start, start + len(places), self.device)
            hidden = self._forward(chunk, np.tile(places, (len(chunk), 1)), cache)
        if len(cache.layers) < self.trunk.config.get_text_config().num_hidden_layers:
            kind = type(self.trunk).__name__
            raise UserError(f"engine=torch: the attention of {kind} cannot be replaced; use engine=vllm")
        cache.finish()
        return cache, hidden[self._tensor(np.arange(len(prompts))), self._tensor(cache.lengths - 1 - start)]

    def _forward(self, tokens: np.ndarray, positions: np.ndarray, shared_prefix: PromptCache | Step) -> torch.Tensor:
        """Hidden states (rows, T, hidden size) of tokens (rows, T) at positions (rows, T). The layers of a loaded model call
        `shared_prefix.attend` instead of their own attention (models/shared_prefix.py)."""
        return self.trunk(
            input_ids=self._tensor(tokens),
            position_ids=self._tensor(positions),
            attention_mask=self.no_mask,
            use_cache=False,
            shared_prefix=shared_prefix,
        ).last_hidden_state

    def _pieces(self) -> list[_Piece]:
        pieces, group = [], self.sampling.group_size
        for prompt in sorted(range(len(self.prompts)), key=lambda index: -len(self.prompts[index])):
            fit = (self.max_tokens - len(self.prompts[prompt])) // self.limit
            size = min(group, self.max_rows, max(1, fit))
            pieces += [_Piece(prompt, start, min(size, group - start)) for start in range(0, group, size)]
        return pieces

    def _admitted(self) -> list[list[_Piece]]:
        """The pieces that get in now, pass by pass: as many as fit, at least one where nothing is in; none as long as that
        would be a small pass and more can come with it later."""
        rows = self.max_rows - len(self.cells)
        tokens = self.max_tokens - sum(cache.tokens for cache in self.cells.caches) - len(self.cells) * self.limit
        passes: list[list[_Piece]] = []
        count = prompt_tokens = width = 0
        for piece in self.waiting:
            length = len(self.prompts[piece.prompt])
            begins = not passes or (len(passes[-1]) + 1) * width > PREFILL_TOKENS
            width = length if begins else width  # the first of a pass is its longest
            rows, tokens = rows - piece.count, tokens - width - piece.count * self.limit
            if (rows < 0 or tokens < 0) and (len(self.cells) or passes):
                break
            if begins:
                passes.append([])
            passes[-1].append(piece)
            count, prompt_tokens = count + 1, prompt_tokens + length
        if len(self.cells) and count < len(self.waiting) and prompt_tokens < WORTH_A_PASS:
            return []
        for _ in range(count):
            self.waiting.popleft()
        return passes

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device)
