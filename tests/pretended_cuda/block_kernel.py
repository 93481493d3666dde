"""What a compiled flex_attention makes of a BlockMask, in plain torch: the pairs of full blocks unasked, those of listed blocks by the
rule, no others. So a block that the mask forgets, or calls full and is not, shows in the numbers."""

from __future__ import annotations

import torch
from torch.nn.attention.flex_attention import BlockMask


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, block_mask: BlockMask, scale: float, enable_gqa: bool
) -> torch.Tensor:
    """query (1, H, T, D), key and value (1, key-value heads, T, D). Raises what the kernel's makers refuse."""
    if len({query.dtype, key.dtype, value.dtype}) > 1:
        raise ValueError(f"Backward pass with mixed query, key, and value dtype: {query.dtype}, {key.dtype}, {value.dtype}")
    width, (rows, columns) = query.shape[2], block_mask.BLOCK_SIZE
    if (width, key.shape[2]) != block_mask.seq_lengths:
        raise ValueError(f"block_mask was created for {block_mask.seq_lengths}, and there are {width} tokens")
    listed = _pairs(block_mask.kv_num_blocks, block_mask.kv_indices, rows, columns)
    full = _pairs(block_mask.full_kv_num_blocks, block_mask.full_kv_indices, rows, columns)
    place = torch.arange(width, device=query.device)
    none = torch.zeros((), dtype=torch.int64, device=query.device)
    seen = (listed & block_mask.mask_mod(none, none, place[:, None], place[None, :])) | full
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, scale=scale, enable_gqa=enable_gqa
    )


def _pairs(count: torch.Tensor, places: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """(T, T) bool: whether a pair is in one of the first `count` (1, 1, N) of the blocks `places` (1, 1, N, N) of its row."""
    if not count.dtype == places.dtype == torch.int32:
        raise TypeError(f"a BlockMask of {count.dtype} and {places.dtype}: the kernel reads int32")
    in_list = torch.arange(places.shape[-1], device=places.device) < count[0, 0][:, None]
    blocks = torch.zeros_like(in_list).scatter(1, places[0, 0].long(), in_list)
    return blocks.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
