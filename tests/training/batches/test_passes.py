"""Passes counted from lengths: by hand, and against the tensors that are laid out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapo_cli.models.packing.layout import LAY_OUT
from gapo_cli.training.batches.pairs import ByPair, Pair, pair_batches
from gapo_cli.training.batches.passes import BY_ANSWER, Lengths, Pass

LAYOUTS = ["packed", "masked", "padded"]
groups = st.lists(
    st.builds(Lengths, st.integers(1, 9), st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=5,
)
pairs = st.lists(st.builds(Lengths, st.integers(1, 9), st.tuples(st.integers(1, 6), st.integers(1, 6))), min_size=1, max_size=6)


def test_a_pass_of_answers_of_unlike_lengths():
    # a prompt of 5 and answers of 3 and 1, whose last tokens are labels only: inputs of 2 and 0
    one = [Lengths(5, (3, 1))]
    # packed: 15 pairs in the prompt, 2 x 5 with it, 3 in the answer
    assert Pass.of(one, "packed") == Pass(7, 4, 15 + 10 + 3)
    assert Pass.of(one, "masked") == Pass(7, 4, 49, 49)
    # two rows as wide as the longer: 28 pairs each
    assert Pass.of(one, "padded") == Pass(14, 4, 56)


@given(groups, st.sampled_from(LAYOUTS))
@settings(max_examples=40, deadline=None)
def test_tokens_of_a_pass_are_those_that_are_laid_out(some, layout):
    laid_out = LAY_OUT[layout]([[5] * one.prompt for one in some], [[[7] * n for n in one.answers] for one in some], 0)
    found = Pass.of(some, layout)
    assert found.tokens == laid_out.input_ids.numel()
    assert found.predicted == len(laid_out.labels)
    assert found.masked == (0 if laid_out.attention_mask is None else laid_out.attention_mask.numel())


@given(pairs, st.sampled_from(LAYOUTS), st.sampled_from([0, 1, 24, 60]))
@settings(max_examples=40, deadline=None)
def test_passes_of_pairs_are_those_that_are_learnt_in(some, layout, budget):
    tokens = [Pair((5,) * one.prompt, (7,) * one.answers[0], (8,) * one.answers[1]) for one in some]
    laid_out = pair_batches(tokens, layout, budget, pad_id=0)
    found = ByPair().passes(some, layout, budget)
    assert [one.tokens for one in found] == [one.tokens.input_ids.numel() for one in laid_out]
    assert sum(one.predicted for one in found) == sum(sum(one.answers) for one in some)


@pytest.mark.parametrize(("division", "count"), [(BY_ANSWER, 2), (ByPair(), 1)])
def test_a_pair_is_never_divided_and_a_group_is(division, count):
    # 9 + 3 + 3 inputs: a limit of 12 has room for one answer
    assert len(division.passes([Lengths(9, (4, 4))], "packed", 12)) == count


def test_ranks_share_out_pairs_by_the_prompt_of_each_answer():
    one = Lengths(9, (4, 2))
    assert (BY_ANSWER.size(one), ByPair().size(one)) == (15, 24)
    assert Pair((0,) * 9, (0,) * 4, (0,) * 2).tokens == 24
