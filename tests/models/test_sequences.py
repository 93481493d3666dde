"""Sequences beside each other in a row: each sees itself only."""

from gapo_cli.models.sequences import pack_sequences


def test_sequences_of_one_row_see_themselves_only():
    batch = pack_sequences([[([1, 2], [5, 6]), ([3], [7])], [([4], [8])]], pad_id=0)
    # row 0: prompt 1 2, answer 5 (6 is a label), prompt 3 (7 is a label); row 1: prompt 4 and padding
    assert batch.input_ids.tolist() == [[1, 2, 5, 3], [4, 0, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]
    assert batch.labels.tolist() == [5, 6, 7, 8]
    assert batch.predictors.tolist() == [1, 2, 3, 4]
    assert batch.completion_index.tolist() == [0, 0, 1, 2]
    assert batch.attention_mask[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]
    assert batch.attention_mask[1, 0].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]


def test_rows_of_one_sequence_need_no_mask():
    batch = pack_sequences([[([1, 2], [5, 6])], [([4], [8])]], pad_id=0)
    assert batch.attention_mask is None
    assert batch.input_ids.tolist() == [[1, 2, 5], [4, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2]] * 2  # through the padding: a 0 there would begin another sequence
    assert batch.predictors.tolist() == [1, 2, 3]
    assert batch.to("meta").attention_mask is None
