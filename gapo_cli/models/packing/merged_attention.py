"""Attention in two parts: what a completion pays to its prompt and what it pays to itself are two softmaxes, merged by
their log-sum-exp."""

from __future__ import annotations

import torch


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
    """`attention_with_weight` for any device: the scores of one query a completion are small enough to be held. They are
    float32, as fused kernels keep them: in bfloat16 a score of 100 is off by a quarter, and its weight by as much."""
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.matmul(query.float(), keys.float().transpose(-1, -2)) * scale
        if mask is not None:
            scores = scores + mask
        weight = scores.logsumexp(dim=-1)
        return torch.matmul((scores - weight[..., None]).exp().to(values.dtype), values), weight


def merged(first: torch.Tensor, first_weight: torch.Tensor, second: torch.Tensor, second_weight: torch.Tensor) -> torch.Tensor:
    """Attention over two sets of keys from that over each: outputs (..., D), weights (...) as `attention_with_weight` has
    them. exp(a) / (exp(a) + exp(b)) is sigmoid(a - b)."""
    share = torch.sigmoid(second_weight - first_weight)[..., None]
    return torch.lerp(first, second, share.to(first.dtype))
