"""Log-probabilities of completion tokens under a model: the one place where hidden states become probabilities.

The model's trunk gives hidden states; its head runs on the positions that predict a completion token only, so no logits
of prompt or padding are ever made, and where those of the completions are many, not all at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gapo_cli.models.packing.chunked_logprobs import Entropy, chunk_tokens, chunked_distribution, token_distribution
from gapo_cli.models.packing.layout import TokenBatch
from gapo_cli.models.sharding import passing


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """`logprobs` (N,) float32 in nats; `entropy` (N,) float32 of the distribution each token was drawn from, or None. `states`: the
    hidden states that the head made them of, (N, hidden size), with their gradient."""

    logprobs: torch.Tensor
    entropy: torch.Tensor | None
    states: torch.Tensor


def completion_logprobs(
    model: torch.nn.Module,
    batch: TokenBatch,
    temperature: float = 1.0,
    entropy: Entropy = "none",
    chunk: int | Literal["auto"] = "auto",
) -> TokenLogprobs:
    """Log-probabilities of `batch.labels` at `temperature`, with gradients where they are enabled.

    `entropy`: not computed, computed without a gradient, or with one. `chunk`: tokens whose logits are in memory at a time
    (0: all; "auto": by estimate, see `chunked_logprobs`). Softmax runs in float32 whatever the model's precision. Raises
    ValueError if temperature is not above 0. Of a sharded model all ranks make the call."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: log-probabilities need a temperature above 0")

    def compute() -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        predicting = predicting_states(model.get_decoder(), batch)
        head = model.get_output_embeddings()
        size = chunk_tokens(chunk, len(batch.labels), head.weight.shape[0])
        if size:
            return *chunked_distribution(head, predicting, batch.labels, temperature, entropy, size), predicting
        return *token_distribution(head, predicting, batch.labels, temperature, entropy), predicting

    return TokenLogprobs(*passing(model, compute))


def predicting_states(trunk: Callable[..., Any], batch: TokenBatch, embeddings: torch.Tensor | None = None) -> torch.Tensor:
    """The hidden states that `batch.labels` are predicted from, (N, hidden size). `trunk`: a model's decoder, or what is called as one.
    `embeddings` (R, T, hidden size) take the place of those of `batch.input_ids`."""
    inputs = batch.inputs()
    if embeddings is not None:
        del inputs["input_ids"]
        inputs["inputs_embeds"] = embeddings
    return trunk(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)[batch.predictors]
