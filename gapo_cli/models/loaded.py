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
    inside `autocast()` compute in bfloat16. `device`: "cpu", "cuda", ..."""

    model: Any
    tokenizer: Any
    config: ModelConfig
    device: str
    dtype: str

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16")

    @property
    def eos_token_id(self) -> int:
        """The token that ends an answer, as supervised training writes it."""
        return self.eos_token_ids[0]

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """All tokens that end an answer: the tokenizer's first, then what the model's config adds."""
        return end_tokens(self.tokenizer, self.model.config)

    @property
    def pad_token_id(self) -> int:
        """What fills up rows; masked everywhere, so the end token does where a tokenizer has no padding token."""
        pad = self.tokenizer.pad_token_id
        return self.eos_token_id if pad is None else pad


def end_tokens(tokenizer: Any, model_config: Any) -> tuple[int, ...]:
    configured = model_config.get_text_config().eos_token_id
    listed = configured if isinstance(configured, (list, tuple)) else [configured]
    return tuple(dict.fromkeys(token for token in (tokenizer.eos_token_id, *listed) if token is not None))
