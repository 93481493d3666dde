"""Packed and padded rows say the same thing about the same tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapo_cli.models.packing.layout import LAY_OUT, pack, pack_masked, pad
from gapo_cli.models.packing.spans import Span, dense_mask

# one group: prompt 10 11 12, completions 20 21 22 and 30; another: prompt 40, completion 50 51
PROMPTS = [[10, 11, 12], [40]]
COMPLETIONS = [[[20, 21, 22], [30]], [[50, 51]]]


def test_a_packed_row_is_each_group_in_turn_the_prompt_then_the_inputs_of_each_completion_with_restarted_positions():
    batch = pack(PROMPTS, COMPLETIONS, pad_id=0)
    # the last token of a completion predicts nothing, so 22, 30 and 51 are labels only
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21, 40, 50]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1]]
    assert batch.labels.tolist() == [20, 21, 22, 30, 50, 51]
    # 20 and 30 are predicted at their prompt's end (column 2), 50 at column 5
    assert batch.predictors.tolist() == [2, 3, 4, 2, 5, 6]
    assert batch.completion_index.tolist() == [0, 0, 0, 1, 2, 2]


def test_masked_rows_are_a_group_each():
    batch = pack_masked(PROMPTS, COMPLETIONS, pad_id=0)
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21], [40, 50, 0, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert batch.labels.tolist() == [20, 21, 22, 30, 50, 51]
    # 50 is predicted at row 1, column 0 = 1 * 5 + 0
    assert batch.predictors.tolist() == [2, 3, 4, 2, 5, 6]
    assert batch.completion_index.tolist() == [0, 0, 0, 1, 2, 2]


def test_a_padded_row_is_the_prompt_then_the_inputs_of_one_completion():
    batch = pad(PROMPTS, COMPLETIONS, pad_id=0)
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21], [10, 11, 12, 0, 0], [40, 50, 0, 0, 0]]
    assert batch.predictors.tolist() == [2, 3, 4, 7, 10, 11]
    assert batch.labels.tolist() == [20, 21, 22, 30, 50, 51]
    assert batch.completion_index.tolist() == [0, 0, 0, 1, 2, 2]


def test_the_mask_of_several_groups_in_one_row_keeps_them_apart():
    spans = [Span(range(2), (range(2, 3), range(3, 3))), Span(range(3, 4), (range(4, 5),))]
    # prompt of 2, an input of completion 1, none of completion 2; prompt of 1, an input; padding
    assert dense_mask([spans], 6)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_a_completion_sees_the_prompt_and_its_own_earlier_tokens_only():
    batch = pack_masked([[1, 2]], [[[5, 6, 7], [8, 9]]], pad_id=0)
    # columns: prompt 1 2, completion 5 6 (7 is a label), completion 8
    assert batch.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


ragged = st.lists(
    st.tuples(
        st.lists(st.integers(1, 99), min_size=1, max_size=6),
        st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=5), min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.slow
@settings(deadline=None)
@given(ragged)
def test_both_layouts_name_the_same_tokens_in_the_same_order_and_leave_no_query_without_a_key(groups):
    prompts, completions = [prompt for prompt, _ in groups], [group for _, group in groups]
    flat = [completion for group in completions for completion in group]
    for batch in (lay_out(prompts, completions, pad_id=0) for lay_out in LAY_OUT.values()):
        assert batch.labels.tolist() == [token for completion in flat for token in completion]
        assert batch.completion_index.tolist() == [index for index, completion in enumerate(flat) for _ in completion]
        assert batch.attention_mask is None or batch.attention_mask.any(dim=-1).all()
        # a token after the first is predicted where the token before it stands
        tokens = batch.input_ids.flatten()[batch.predictors]
        before = [token for group, prompt in zip(completions, prompts, strict=True) for completion in group
                  for token in (prompt[-1], *completion[:-1])]  # fmt: skip
        assert tokens.tolist() == before


@pytest.mark.slow
@settings(deadline=None)
@given(ragged)
def test_what_a_predictor_sees_is_the_prompt_and_the_completion_up_to_itself(groups):
    prompts, completions = [prompt for prompt, _ in groups], [group for _, group in groups]
    contexts = [prompt + completion[:end] for prompt, group in zip(prompts, completions, strict=True)
                for completion in group for end in range(len(completion))]  # fmt: skip
    for batch in (pack_masked(prompts, completions, pad_id=0), pad(prompts, completions, pad_id=0)):
        width = batch.input_ids.shape[1]
        for predictor, context in zip(batch.predictors.tolist(), contexts, strict=True):
            row, column = divmod(predictor, width)
            seen = range(column + 1) if batch.attention_mask is None else batch.attention_mask[row, 0, column]
            assert batch.input_ids[row][seen].tolist() == context
            assert batch.position_ids[row][seen].tolist() == list(range(len(context)))


def test_a_prompt_without_tokens_is_refused():
    for layout in LAY_OUT.values():
        with pytest.raises(ValueError, match="a prompt of no tokens"):
            layout([[]], [[[1]]], pad_id=0)


def test_a_batch_goes_to_a_device_with_all_its_tensors():
    for lay_out in LAY_OUT.values():
        batch = lay_out(PROMPTS, COMPLETIONS, pad_id=0).to("meta")
        devices = {getattr(batch, name).device.type for name in ("input_ids", "position_ids", "predictors", "labels")}
        assert devices == {"meta"}
        assert batch.attention_mask is None or batch.attention_mask.device.type == "meta"
