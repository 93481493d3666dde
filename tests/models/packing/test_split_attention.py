"""Attention in parts is attention under the mask: outputs and gradients, whatever the groups are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_prefix_cases import SCALE, groups, results, some_states, spans_of, under_the_mask

from gapo_cli.models.packing.split_attention import SplitAttention


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(groups, st.sampled_from([(2, 2), (4, 2), (3, 1)]))
def test_parts_give_the_output_and_gradients_of_the_dense_mask(groups, heads):
    spans = spans_of(groups)
    states = some_states(spans[-1].stop, *heads)
    split = SplitAttention.of(spans)
    ours = results(lambda *qkv: split.attend(0, *qkv, SCALE), states)
    for found, expected in zip(ours, results(lambda *qkv: under_the_mask(spans, *qkv), states), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [[(1, [])], [(3, [0, 0])], [(1, [1])], [(40, [17, 33, 1])]], ids=str)
def test_corner_cases_hold_too(groups):
    spans = spans_of(groups)
    states = some_states(spans[-1].stop, 2, 2)
    split = SplitAttention.of(spans)
    ours = results(lambda *qkv: split.attend(0, *qkv, SCALE), states)
    for found, expected in zip(ours, results(lambda *qkv: under_the_mask(spans, *qkv), states), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_keys_of_one_completion_that_outweigh_all_others_change_nothing_for_the_others():
    """Scores of several hundred: exp() of one softmax's scores by the other's normaliser would overflow."""
    spans = spans_of([(4, [3, 5])])
    states = some_states(12, 2, 2)
    with torch.no_grad():
        states[1][:, :, 4:7] *= 300
    split = SplitAttention.of(spans)
    ours = results(lambda *qkv: split.attend(0, *qkv, SCALE), states)
    expected = results(lambda *qkv: under_the_mask(spans, *qkv), states)
    assert all(torch.isfinite(one).all() for one in ours)
    assert torch.allclose(ours[0], expected[0], atol=1e-4)
    assert torch.allclose(ours[3], expected[3], atol=1e-4)


def test_autocast_reaches_the_kernel():
    spans = spans_of([(6, [3, 5])])
    states = some_states(14, 2, 2)
    split = SplitAttention.of(spans)
    exact = results(lambda *qkv: split.attend(0, *qkv, SCALE), states)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert split.attend(0, *states, SCALE).dtype is torch.bfloat16
        rounded = results(lambda *qkv: split.attend(0, *qkv, SCALE), states)
    for found, expected in zip(rounded, exact, strict=True):
        assert (found - expected).norm() < 0.02 * expected.norm()
