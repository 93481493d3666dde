"""Attention that knows which tokens share a prompt: a model's layers call it where a pass brings it, else their own.

A forward pass gets an object as keyword argument `shared_prefix`; each attention layer then calls its `attend` with what
projections, norms and positions of the model have made. On a CPU it is SplitAttention, on a GPU FlexAttention. A dense mask
says the same thing to the model's own kernel, which computes all that it masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from gapo_cli.models.packing.flex_attention import FlexAttention
from gapo_cli.models.packing.spans import Span
from gapo_cli.models.packing.split_attention import SplitAttention

NAME = "gapo_sdpa"
NO_MASK = torch.zeros(1, 1, 1, 1)
"""A mask of four dimensions is passed on as it is, so that transformers makes none of its own."""


class SharedPrefix(Protocol):
    """`attend`: what the queries (B, H, T, D) of layer `layer` make of keys and values (B, key-value heads, T, D) →
    (B, T, H, D)."""

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor: ...


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    shared_prefix: SharedPrefix | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it. A window is not looked at: a model is loaded where its window covers the context only."""
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **settings)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared_prefix.attend(module.layer_idx, query, key, value, scale), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def take_shared_prefixes(model: Any) -> None:
    """From now on the layers of `model` know `shared_prefix`; without it they do what they did. A model whose attention is
    its own code stays as it is."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(NAME)


def shared_prefix_inputs(spans: Sequence[Span], device: torch.device) -> dict[str, Any]:
    """What the trunk of a model is called with, beside tokens and positions, for one row of groups on `device`."""
    kind = SplitAttention if device.type == "cpu" else FlexAttention
    return {"attention_mask": NO_MASK.to(device), "shared_prefix": kind.of(spans, device)}
