"""The rule that flex_attention works by is the dense mask. There is no GPU here, so no backward pass."""

import os
import shutil

import pytest
import torch
import torch._dynamo
import torch._inductor.config
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_prefix_cases import SCALE, groups, some_states, spans_of, under_the_mask
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention.flex_attention import create_block_mask, create_mask, flex_attention

from gapo_cli.models.packing.flex_attention import BLOCK, FlexAttention, _compiled
from gapo_cli.models.packing.spans import dense_mask

CPU = torch.device("cpu")
long_groups = st.lists(st.tuples(st.integers(1, 500), st.lists(st.integers(0, 300), max_size=4)), min_size=1, max_size=3)


def by_kind(block_mask):
    """(N, N) bool each: blocks masked in part, blocks not masked"""
    width = block_mask.kv_indices.shape[-1]
    found = []
    for counts, places in [
        (block_mask.kv_num_blocks, block_mask.kv_indices),
        (block_mask.full_kv_num_blocks, block_mask.full_kv_indices),
    ]:
        rows = [{int(place) for place in row[:count]} for count, row in zip(counts[0, 0], places[0, 0], strict=True)]
        found.append(torch.tensor([[column in row for column in range(width)] for row in rows]))
    return found


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(groups)
def test_the_rule_of_the_block_mask_is_the_dense_mask(groups):
    spans = spans_of(groups)
    width = spans[-1].stop
    rule = FlexAttention.of(spans, CPU).block_mask.mask_mod
    assert torch.equal(create_mask(rule, 1, 1, width, width, device="cpu"), dense_mask([spans], width))


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(long_groups)
def test_a_row_is_filled_up_to_whole_blocks_and_nothing_looks_at_what_fills_it(groups):
    spans = spans_of(groups)
    tokens = spans[-1].stop
    block_mask = FlexAttention.of(spans, CPU).block_mask
    width = block_mask.seq_lengths[0]
    assert width % BLOCK == 0
    assert width - tokens < BLOCK or width == 2 * BLOCK
    seen = create_mask(block_mask.mask_mod, 1, 1, width, width, device="cpu")[0, 0]
    assert not seen[:tokens, tokens:].any()
    assert seen.any(1).all()  # softmax over nothing is NaN


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(long_groups)
def test_no_block_is_missed_and_none_is_whole_that_is_not(groups):
    """Beside the blocks that torch finds in the mask of all pairs."""
    ours = FlexAttention.of(spans_of(groups), CPU).block_mask
    width = ours.seq_lengths[0]
    theirs = create_block_mask(ours.mask_mod, None, None, width, width, device="cpu")
    (part, whole), (their_part, their_whole) = by_kind(ours), by_kind(theirs)
    assert not (part & whole).any()
    assert (part | whole).ge(their_part | their_whole).all()
    assert whole.le(their_whole).all()


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


@pytest.mark.slow
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)])
@pytest.mark.parametrize("groups", [[(9, [5, 0, 3]), (4, [2])], [(300, [130, 5, 260]), (40, [2])]])
def test_output_is_that_of_the_dense_mask(groups, heads):
    """Forward only: torch has no backward pass of flex_attention on a CPU."""
    spans = spans_of(groups)
    states = [one.detach() for one in some_states(spans[-1].stop, *heads)]
    ours = FlexAttention.of(spans, CPU).attend(0, *states, SCALE)
    assert torch.allclose(ours, under_the_mask(spans, *states), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_rows_of_any_length_are_compiled_three_times_in_a_run():
    """For the first width, then for any, with gradients and without. torch stops at 8. Dynamo alone is asked: what it hands on is what
    a GPU's compiler would compile."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    kernel = torch.compile(flex_attention, fullgraph=True, backend=counter)
    rows = [
        [(256, [])],
        [(400, [])],
        [(129, [1])],
        [(1, [])],
        [(4, [3, 0])],
        [(128, [])],
        [(40, [5] * 4), (300, [70])],
        [(90, [38])],
    ]
    for number, row in enumerate(rows):
        spans = spans_of(row)
        states = [one.detach() for one in some_states(spans[-1].stop, 4, 2)]
        with torch.set_grad_enabled(number % 2 == 0):
            FlexAttention.of(spans, CPU).attend_by(kernel, *states, SCALE)
    assert counter.frame_count == 3
    assert torch._dynamo.config.recompile_limit == 8


def test_queries_and_keys_take_the_dtype_of_values():
    """Under autocast, rotated queries and keys are float32 and values are bfloat16; a compiled backward pass refuses both at once."""
    spans = spans_of([(9, [5, 3])])
    query, key, value = (one.detach() for one in some_states(spans[-1].stop, 4, 2))
    found = []
    FlexAttention.of(spans, CPU).attend_by(
        lambda *states, **_: found.extend(states) or states[0], query, key, value.bfloat16(), SCALE
    )
    assert [one.dtype for one in found] == [torch.bfloat16] * 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="flex_attention is compiled for AVX2 and AVX512 only",
)
@torch._dynamo.config.patch(assume_static_by_default=False)  # one kernel for any width at once, and not one for the first alone
@torch._inductor.config.patch({"cpp.vec_isa_ok": True, "cpp_cache_precompile_headers": False})  # both cost more than they save
def test_output_of_the_compiled_kernel_is_that_of_the_dense_mask():
    """Uncompiled, flex_attention looks at the rule alone; the kernel skips the blocks that the block mask leaves out, and asks
    the rule only in those that it calls partly masked."""
    for row in ([(300, [130, 5, 260]), (40, [2])], [(500, [64] * 4)], [(700, [50, 61, 33]), (90, [20] * 4)]):
        spans = spans_of(row)
        query, key, value = (
            one.detach().repeat(1, 1, 1, 2) for one in some_states(spans[-1].stop, 4, 2)
        )  # it takes heads of 16 on
        ours = FlexAttention.of(spans, CPU).attend_by(_compiled(), query, key, value, SCALE)
        assert torch.allclose(ours, under_the_mask(spans, query, key, value), rtol=1e-4, atol=1e-5)
