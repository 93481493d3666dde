"""Log-probabilities of completion tokens under a model: the one place where hidden states become probabilities.

The model's trunk gives hidden states; its head runs on the positions that predict a completion token only, so no logits
of prompt or padding are ever made.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gapo_cli.models.layout import TokenBatch


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """`logprobs` (N,) float32 in nats; `entropy` (N,) float32 of the distribution each token was drawn from, or None."""

    logprobs: torch.Tensor
    entropy: torch.Tensor | None


def completion_logprobs(
    model: torch.nn.Module, batch: TokenBatch, temperature: float = 1.0, with_entropy: bool = False
) -> TokenLogprobs:
    """Log-probabilities of `batch.labels` at `temperature`, with gradients where they are enabled.

    Softmax runs in float32 whatever the model's precision. Raises ValueError if temperature is not above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: log-probabilities need a temperature above 0")
    hidden = model.get_decoder()(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.attention_mask,
        use_cache=False,
    ).last_hidden_state
    predicting = hidden.flatten(0, 1)[batch.predictors]  # (N, hidden size)
    logits = model.get_output_embeddings()(predicting).float() / temperature  # (N, vocabulary)
    distribution = torch.log_softmax(logits, dim=-1)
    logprobs = distribution.gather(-1, batch.labels[:, None]).squeeze(-1)
    entropy = -(distribution.exp() * distribution).sum(-1) if with_entropy else None
    return TokenLogprobs(logprobs, entropy)
