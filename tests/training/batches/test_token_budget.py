"""Micro-batches by a budget of tokens: nothing lost, nothing over the budget that could be under it, even sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.training.batches.token_budget import Piece, cut_to_budget, even_runs


def test_without_a_budget_all_groups_are_one_micro_batch_in_their_order():
    # packed rows: 5 + (3 - 1) + (4 - 1) and 2 + (1 - 1) + (6 - 1)
    assert cut_to_budget([5, 2], [[3, 4], [1, 6]], "packed", 0) == [[Piece(0, 0, 2, 10), Piece(1, 0, 2, 7)]]


def test_no_groups_are_no_micro_batches():
    assert cut_to_budget([], [], "packed", 0) == cut_to_budget([], [], "packed", 100) == []


def test_rows_of_like_length_go_together_and_padding_counts():
    # rows of 10, 3, 9, 4 tokens: [3, 4] take 2 x 4 = 8, [9, 10] would take 2 x 10 = 20
    micro_batches = cut_to_budget([9, 2, 8, 3], [[2], [2], [2], [2]], "masked", 18)
    assert [[piece.group for piece in pieces] for pieces in micro_batches] == [[1, 3], [2], [0]]


def test_packed_rows_have_no_padding_to_count():
    # rows of 10, 3, 9 and 4 tokens: two of 13 each
    micro_batches = cut_to_budget([9, 2, 8, 3], [[2], [2], [2], [2]], "packed", 14)
    assert [[piece.group for piece in pieces] for pieces in micro_batches] == [[0, 1], [2, 3]]


def test_packed_rows_that_only_just_fit_are_not_spread_over_more_micro_batches():
    # rows of 3, 3, 2, 2, 2 within 6: where the fewest tokens are, 3 | 3, then 2 + 2, and the last 2 would make 7
    micro_batches = cut_to_budget([2, 2, 1, 1, 1], [[2]] * 5, "packed", 6)
    assert [[piece.width for piece in pieces] for pieces in micro_batches] == [[3, 3], [2, 2, 2]]


def test_micro_batches_are_as_even_as_they_can_be():
    # six rows of 10 within 40: two are needed, and 3 + 3 rather than 4 + 2
    micro_batches = cut_to_budget([9] * 6, [[2]] * 6, "packed", 40)
    assert [len(pieces) for pieces in micro_batches] == [3, 3]


def test_a_group_that_does_not_fit_is_divided_evenly_with_its_prompt_repeated():
    # 10 + 4 x 3 = 22 tokens do not fit 20: two pieces of 10 + 2 x 3 = 16 rather than 19 and 13
    assert cut_to_budget([10], [[4, 4, 4, 4]], "packed", 20) == [[Piece(0, 0, 2, 16)], [Piece(0, 2, 4, 16)]]


def test_a_completion_that_is_too_long_alone_gets_a_micro_batch_of_its_own():
    # 10 + 1 tokens are more than 8
    assert cut_to_budget([10], [[2, 2]], "packed", 8) == [[Piece(0, 0, 1, 11)], [Piece(0, 1, 2, 11)]]


def test_padded_rows_are_one_completion_each():
    # rows of 4 + 1 and 4 + 5, both 9 wide in one batch
    assert cut_to_budget([4], [[2, 6]], "padded", 18) == [[Piece(0, 0, 1, 5), Piece(0, 1, 2, 9)]]
    assert cut_to_budget([4], [[2, 6]], "padded", 17) == [[Piece(0, 0, 1, 5)], [Piece(0, 1, 2, 9)]]


@pytest.mark.parametrize("layout", ["packed", "masked", "padded"])
@given(
    st.lists(st.tuples(st.integers(1, 30), st.lists(st.integers(0, 9), min_size=1, max_size=6)), max_size=12),
    st.integers(1, 200),
)
def test_every_completion_is_there_once_and_only_what_is_alone_breaks_the_budget(layout, groups, budget):
    prompts, completions = [prompt for prompt, _ in groups], [lengths for _, lengths in groups]
    micro_batches = cut_to_budget(prompts, completions, layout, budget)
    found = [(piece.group, index) for pieces in micro_batches for piece in pieces for index in range(piece.start, piece.stop)]
    assert sorted(found) == [(group, index) for group, lengths in enumerate(completions) for index in range(len(lengths))]
    for pieces in micro_batches:
        for piece in pieces:
            lengths = completions[piece.group][piece.start : piece.stop]
            assert piece.width == prompts[piece.group] + sum(max(length - 1, 0) for length in lengths)
        if len(pieces) > 1 or pieces[0].stop - pieces[0].start > 1:
            widths = [piece.width for piece in pieces]
            assert (sum(widths) if layout == "packed" else len(widths) * max(widths)) <= budget


@given(st.lists(st.integers(2, 20), max_size=30), st.integers(2, 60))
def test_packed_micro_batches_are_never_more_than_first_fit_needs(widths, budget):
    filled = []
    for width in sorted(widths, reverse=True):
        for place, tokens in enumerate(filled):
            if tokens + width <= budget:
                filled[place] += width
                break
        else:
            filled.append(width)
    micro_batches = cut_to_budget([width - 1 for width in widths], [[2]] * len(widths), "packed", budget)
    assert len(micro_batches) <= len(filled)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=9), st.integers(1, 60))
def test_even_runs_are_the_fewest_and_their_dearest_is_the_cheapest_of_all_cuts(costs, budget):
    def all_cuts(start):
        """Every way to divide the items from `start` on into runs."""
        if start == len(costs):
            yield []
        for stop in range(start + 1, len(costs) + 1):
            if stop - start == 1 or sum(costs[start:stop]) <= budget:
                yield from ([range(start, stop), *rest] for rest in all_cuts(stop))

    def dearest(runs):
        return max((sum(costs[index] for index in run) for run in runs if len(run) > 1), default=0)

    runs = even_runs(len(costs), lambda start, stop: sum(costs[start:stop]), budget)
    cuts = list(all_cuts(0))
    fewest = min(len(cut) for cut in cuts)
    assert runs in cuts
    assert len(runs) == fewest
    assert dearest(runs) == min(dearest(cut) for cut in cuts if len(cut) == fewest)
