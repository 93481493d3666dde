"""The package prefix_grouper, which verl and others share prompts with in training, as a rival on the same row of tokens.

It takes apart what one row holds, [prompt][completion 1] ... [completion G], for attention only: the prompt attends to itself, and every
completion, in a row of its own, to a copy of the prompt's keys and values and itself. Everything else of the model runs once over the
row, as in our packed layout. On a GPU it calls flash-attn, which needs no mask; here it calls torch's attention, causal without a mask for
the prompt and with the mask that lines up ends for the completions. Its row, its head (on the completions' positions only) and
its linear layers are ours, so what is compared is the attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from gapo_cli.models.packing.chunked_logprobs import token_distribution
from gapo_cli.models.packing.layout import TokenBatch

NAME = "prefix_grouper"


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, prefix_grouper: Any, scaling: float, **_: Any
) -> Any:
    return prefix_grouper.forward(_sdpa, query, key, value, scaling), None


def _sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, padding: torch.Tensor, scaling: float) -> torch.Tensor:
    """(B, heads, T, head size) → (B, T, heads, head size). All completions have one length, so there is no padding to mask."""
    queries, keys = query.shape[2], key.shape[2]
    mask = None
    if queries != keys:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    found = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=key.shape[1] != query.shape[1]
    )
    return found.transpose(1, 2)


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def make_grouper(prompt: int, completion: int, group_size: int) -> Any:
    """Of one group whose completions are all of one length; the last token of each is a label only, as in our row."""
    from prefix_grouper import PrefixGrouper

    return PrefixGrouper([[prompt, *[completion - 1] * group_size]], device="cpu")


def grouped_logprobs(model: Any, batch: TokenBatch, grouper: Any) -> torch.Tensor:
    """(N,) log-probabilities of the completions' tokens of a packed row."""
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        trunk = model.get_decoder()
        hidden = trunk(
            input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, prefix_grouper=grouper
        ).last_hidden_state
    finally:
        model.set_attn_implementation(before)
    return token_distribution(model.get_output_embeddings(), hidden.flatten(0, 1)[batch.predictors], batch.labels, 1.0, "none")[
        0
    ]
