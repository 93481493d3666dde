"""The rule that flex_attention works by is the dense mask. It runs uncompiled here: compiled it needs a GPU."""

import pytest
import torch
from hypothesis import given, settings
from shared_prefix_cases import SCALE, groups, some_states, spans_of, under_the_mask
from torch.nn.attention.flex_attention import create_mask

from gapo_cli.models.flex_attention import FlexAttention
from gapo_cli.models.spans import dense_mask

CPU = torch.device("cpu")


@settings(max_examples=50, deadline=None)
@given(groups)
def test_the_rule_of_the_block_mask_is_the_dense_mask(groups):
    spans = spans_of(groups)
    width = spans[-1].stop
    rule = FlexAttention.of(spans, CPU).block_mask.mask_mod
    assert torch.equal(create_mask(rule, 1, 1, width, width, device="cpu"), dense_mask([spans], width))


def test_blocks_of_other_completions_and_other_groups_are_not_computed():
    """Two groups of a prompt of 128 and two completions of 128 inputs: six blocks a side, each whole or masked."""
    spans = spans_of([(128, [128, 128]), (128, [128, 128])])
    blocks = FlexAttention.of(spans, CPU).block_mask.to_dense()[0, 0]
    assert blocks.tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 0, 1],
    ]


@pytest.mark.parametrize("heads", [(2, 2), (4, 2)])
def test_output_is_that_of_the_dense_mask(heads):
    """Forward only: torch has no backward pass of flex_attention on a CPU."""
    spans = spans_of([(9, [5, 0, 3]), (4, [2])])
    states = [one.detach() for one in some_states(spans[-1].stop, *heads)]
    ours = FlexAttention.of(spans, CPU).attend(0, *states, SCALE)
    assert torch.allclose(ours, under_the_mask(spans, *states), rtol=1e-4, atol=1e-5)
