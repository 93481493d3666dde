"""A model in memory with its tokenizer, device and precision."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from gapo_cli.config.model import ModelConfig


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model with its tokenizer; with adapters, `model` is peft's. Weights that are trained are float32,
    which is what an optimizer works on; frozen ones are held in `config.dtype`. `dtype` "bfloat16" means that forward passes
    inside `autocast()` compute in bfloat16. `device`: "cpu", "cuda", ... `eos_token_ids`: all tokens that end an answer;
    `begin_ids`: what comes before a raw prompt; `phantom_ids`: rows of the vocabulary that the tokenizer has no token for,
    which are never drawn. `frame`: of a model whose weights are shared by ranks (`gapo_cli.models.sharding`), a copy without weights."""

    model: Any
    tokenizer: Any
    config: ModelConfig
    device: str
    dtype: str
    eos_token_ids: tuple[int, ...]
    begin_ids: tuple[int, ...] = ()
    phantom_ids: tuple[int, ...] = ()
    frame: Any = None

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        # what autocast remembers are weights in half precision, which ranks that share them could not let go layer by layer
        return torch.autocast(
            torch.device(self.device).type,
            dtype=torch.bfloat16,
            enabled=self.dtype == "bfloat16",
            cache_enabled=not self.sharded,
        )

    @property
    def sharded(self) -> bool:
        """Ranks share the weights: each pass waits for all of them."""
        return self.frame is not None

    @property
    def eos_token_id(self) -> int:
        """The token that ends an answer, as supervised training writes it."""
        return self.eos_token_ids[0]

    @property
    def pad_token_id(self) -> int:
        """What fills up rows; masked everywhere, so the end token does where a tokenizer has no padding token."""
        pad = self.tokenizer.pad_token_id
        return self.eos_token_id if pad is None else pad
