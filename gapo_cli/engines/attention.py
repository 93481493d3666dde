"""Attention for rollouts: completions read their prompt's keys and values where they lie, once for the whole group.

A forward pass of the model gets an object as the keyword argument `shared_prefix`, and each of its attention layers calls
`attend` of it instead of its own attention: projections, norms and positions stay the model's. What a completion pays to
its prompt and what it pays to itself are two softmaxes, merged by their log-sum-exp.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from gapo_cli.errors import UserError

NAME = "gapo_shared_prefix"
NO_MASK = torch.empty(1, 1, 1, 1)
"""A mask of four dimensions is passed on as it is, so that transformers makes none of its own."""
_switched = threading.RLock()


class SharedPrefix(Protocol):
    """`attend`: what the queries (B, H, T, D) of layer `layer` make of these keys and values (B, kv heads, T, D) and of
    those seen before → (B, T, H, D)."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor: ...


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    shared_prefix: SharedPrefix | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it; a pass that is not ours gets the model's usual attention."""
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return shared_prefix.attend(module.layer_idx, query, key, value, scaling), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


@contextlib.contextmanager
def replaced_attention(trunk: Any) -> Iterator[None]:
    """Inside, the layers of `trunk` (the decoder of a transformers model) know `shared_prefix`; afterwards they have their
    own attention again, whatever happened. One at a time in a process. Raises UserError where the model does not let it."""
    with _switched:
        before = trunk.config._attn_implementation
        try:
            trunk.set_attn_implementation(NAME)
            if trunk.config._attn_implementation != NAME:
                raise cannot_be_replaced(trunk)
            yield
        finally:
            trunk.set_attn_implementation(before)


def cannot_be_replaced(trunk: Any) -> UserError:
    kind = type(trunk).__name__
    return UserError(f"engine=torch: the attention of {kind} cannot be replaced; serve the model and use engine=openai")


def attention_with_weight(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """query (B, heads, M, D), keys and values (B, heads, n, D), mask: added to the scores (B, heads, M, n), with any of its
    first three dimensions 1, or None → output (B, heads, M, D) and the log of the sum of exp(score) (B, heads, M) float32.
    On a CPU by the kernel of torch's own attention, which public torch has without the second result; else by products."""
    if query.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, keys, values, attn_mask=mask, scale=scale)
    return attention_by_products(query, keys, values, mask, scale)


def attention_by_products(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attention_with_weight` for any device: the scores of one query a completion are small enough to be held."""
    scores = torch.matmul(query, keys.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores = scores + mask
    weight = scores.logsumexp(dim=-1)
    return torch.matmul((scores - weight[..., None]).exp().to(values.dtype), values), weight


def merged(
    first: torch.Tensor, first_weight: torch.Tensor, second: torch.Tensor, second_weight: torch.Tensor
) -> torch.Tensor:
    """Attention over two sets of keys from that over each: outputs (..., D), weights (...) as `attention_with_weight` has
    them. exp(a) / (exp(a) + exp(b)) is sigmoid(a - b)."""
    share = torch.sigmoid(second_weight - first_weight)[..., None]
    return torch.lerp(first, second, share.to(first.dtype))
