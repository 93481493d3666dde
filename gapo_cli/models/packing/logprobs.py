"""Log-probabilities of completion tokens under a model: the one place where hidden states become probabilities.

The model's trunk gives hidden states; its head runs on the positions that predict a completion token only, so no logits
of prompt or padding are ever made, and where those of the completions are many, not all at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from gapo_cli.models.packing.chunked_logprobs import Entropy, chunk_tokens, chunked_distribution, token_distribution
from gapo_cli.models.packing.layout import TokenBatch


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """`logprobs` (N,) float32 in nats; `entropy` (N,) float32 of the distribution each token was drawn from, or None."""

    logprobs: torch.Tensor
    entropy: torch.Tensor | None


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
    ValueError if temperature is not above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: log-probabilities need a temperature above 0")
    hidden = model.get_decoder()(**batch.inputs(), use_cache=False).last_hidden_state
    predicting = hidden.flatten(0, 1)[batch.predictors]  # (N, hidden size)
    head = model.get_output_embeddings()
    size = chunk_tokens(chunk, len(batch.labels), head.weight.shape[0])
    if size:
        return TokenLogprobs(*chunked_distribution(head, predicting, batch.labels, temperature, entropy, size))
    return TokenLogprobs(*token_distribution(head, predicting, batch.labels, temperature, entropy))
