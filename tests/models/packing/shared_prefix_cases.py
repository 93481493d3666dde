"""Groups in a row, states to attend with, and what attention under the dense mask makes of them."""

import torch
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from gapo_cli.models.packing.spans import Span, dense_mask

SCALE = 0.3


def spans_of(groups):
    """groups: (tokens of the prompt, inputs of each completion)"""
    spans, place = [], 0
    for prompt, inputs in groups:
        ranges, start = [], place + prompt
        for count in inputs:
            ranges.append(range(start, start + count))
            start += count
        spans.append(Span(range(place, place + prompt), tuple(ranges)))
        place = start
    return spans


def some_states(tokens, heads, key_value_heads, dtype=torch.float32):
    generator = torch.Generator().manual_seed(tokens)
    # (1, T, H, D) in memory, as a model's projections leave it
    return [
        torch.randn(1, tokens, count, 8, generator=generator).to(dtype).transpose(1, 2).requires_grad_()
        for count in (heads, key_value_heads, key_value_heads)
    ]


def results(attend, states):
    for one in states:
        one.grad = None
    output = attend(*states)
    (output.float() * torch.linspace(-1, 2, output.numel()).view_as(output)).sum().backward()
    return [output.detach().float(), *(one.grad.float() for one in states)]


def under_the_mask(spans, query, key, value):
    mask = dense_mask([spans], query.shape[2])
    return scaled_dot_product_attention(query, key, value, mask, scale=SCALE, enable_gqa=True).transpose(1, 2)


groups = st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(0, 5), max_size=5)), min_size=1, max_size=4)
