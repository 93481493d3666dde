"""One number, one token: the probabilities below are written out by hand."""

import math

import numpy as np
import pytest
import torch

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.decoding.drawing import draw, uniforms
from gapo_cli.errors import NotFiniteError

# probabilities 0.1, 0.5, 0, 0.15, 0.25 cumulate to 0.1, 0.6, 0.6, 0.75, 1
PROBABILITIES = [0.1, 0.5, 0.0, 0.15, 0.25]
LOGITS = torch.log(torch.tensor(PROBABILITIES)) + 3.0  # a shift that softmax takes out


def settings(**changes) -> SamplingConfig:
    return SamplingConfig(**{"group_size": 1, "max_new_tokens": 1} | changes)


def tokens_for(numbers: list[float], logits: torch.Tensor = LOGITS, **changes) -> list[int]:
    rows = logits.expand(len(numbers), -1)
    return draw(rows, torch.tensor(numbers, dtype=torch.float64), settings(**changes))[0].tolist()


def test_a_token_is_where_the_cumulated_probabilities_pass_the_number():
    assert tokens_for([0.0, 0.09, 0.11, 0.59, 0.61, 0.74, 0.76, 0.999]) == [0, 0, 1, 1, 3, 3, 4, 4]


def test_a_token_without_probability_is_never_drawn_not_even_at_the_ends():
    below_one = math.nextafter(1.0, 0.0)
    logits = torch.log(torch.tensor([0.0, 0.5, 0.5, 0.0]))
    assert tokens_for([0.0, below_one], logits) == [1, 2]
    # 0.5 is where the first token ends: the next has no probability, the one after begins
    assert tokens_for([0.5, below_one], torch.tensor([0.0, -math.inf, 0.0])) == [2, 2]


def test_logprobs_are_those_of_the_distribution_at_the_temperature():
    # at temperature 2 the probabilities go as their square roots
    roots = [math.sqrt(probability) for probability in PROBABILITIES]
    tokens, logprobs = draw(LOGITS[None], torch.tensor([0.0], dtype=torch.float64), settings(temperature=2.0))
    assert tokens.tolist() == [0]
    assert logprobs.item() == pytest.approx(math.log(roots[0] / sum(roots)), abs=1e-6)


def test_temperature_zero_takes_the_likeliest_token_with_its_logprob_at_temperature_one():
    tokens, logprobs = draw(LOGITS[None], None, settings(temperature=0.0))
    assert tokens.tolist() == [1]
    assert logprobs.item() == pytest.approx(math.log(0.5), abs=1e-6)


def test_top_k_leaves_the_k_likeliest_tokens():
    # 0.5 and 0.25 are left, in that order: numbers below 2/3 give token 1
    assert tokens_for([0.0, 0.66, 0.67, 0.99], top_k=2) == [1, 1, 4, 4]
    assert tokens_for([0.0, 0.5, 0.99], top_k=1) == [1, 1, 1]
    assert tokens_for([0.3], top_k=50) == tokens_for([0.3], top_k=5)


def test_top_p_leaves_the_fewest_likeliest_tokens_that_reach_it():
    # 0.5 + 0.25 = 0.75 does not reach 0.8, so 0.15 comes in: 0.5, 0.75, 0.9 of 0.9
    assert tokens_for([0.0, 0.55, 0.56, 0.83, 0.84, 0.99], top_p=0.8) == [1, 1, 4, 4, 3, 3]
    assert tokens_for([0.0, 0.99], top_p=0.01) == [1, 1]


def test_top_p_is_of_what_top_k_leaves():
    # top-k leaves 0.5, 0.25, 0.15 (of 0.9): 0.6 of that is 0.54, which 0.5 does not reach and 0.75 does
    assert tokens_for([0.0, 0.66, 0.67, 0.99], top_k=3, top_p=0.6) == [1, 1, 4, 4]


def test_logprobs_are_not_renormalised_over_what_top_k_and_top_p_leave():
    for changes in ({"top_k": 1}, {"top_p": 0.3}):
        _, logprobs = draw(LOGITS[None], torch.tensor([0.5], dtype=torch.float64), settings(**changes))
        assert logprobs.item() == pytest.approx(math.log(0.5), abs=1e-6)


def test_many_draws_have_the_probabilities_of_the_logits():
    numbers = torch.from_numpy(np.random.default_rng(0).random(20_000))
    for changes in ({}, {"top_k": 5}, {"top_p": 0.999999}):
        tokens, _ = draw(LOGITS.expand(len(numbers), -1), numbers, settings(**changes))
        shares = torch.bincount(tokens, minlength=5) / len(numbers)
        # one standard error of a share of 0.5 is sqrt(0.25 / 20000) = 0.0035
        assert torch.allclose(shares, torch.tensor(PROBABILITIES), atol=0.015)


@pytest.mark.parametrize("vocabulary", [127, 128, 129, 256, 300])
def test_a_vocabulary_of_several_blocks_is_passed_token_by_token(vocabulary):
    # equal probabilities: token i ends at (i + 1) / vocabulary
    logits = torch.zeros(vocabulary)
    middles = [(token + 0.5) / vocabulary for token in range(vocabulary)]
    assert tokens_for(middles, logits) == list(range(vocabulary))
    assert tokens_for([0.0, math.nextafter(1.0, 0.0)], logits) == [0, vocabulary - 1]


def test_a_token_without_probability_is_never_drawn_at_the_edges_of_a_block():
    # tokens 127 and 129 alone can be drawn, at the end of the first block and past the beginning of the second
    logits = torch.full((256,), -math.inf)
    logits[[127, 129]] = 0.0
    assert tokens_for([0.0, math.nextafter(0.5, 0.0), 0.5, math.nextafter(1.0, 0.0)], logits) == [127, 127, 129, 129]


def test_numbers_hang_on_seed_and_sample_index_and_not_on_what_else_is_drawn():
    both = uniforms([(3, 0), (3, 1), (4, 0)], 10)
    assert both.shape == (3, 10)
    assert np.array_equal(uniforms([(3, 1)], 10)[0], both[1])
    assert np.array_equal(uniforms([(3, 1)], 4)[0], both[1, :4])
    assert len(np.unique(both)) == 30
    assert ((both >= 0) & (both < 1)).all()


def test_seeds_may_be_as_large_as_hashes_are():
    assert not np.array_equal(uniforms([(2**63, 0)], 3), uniforms([(2**63 - 1, 0)], 3))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("changes", [{"temperature": 0.0}, {}, {"top_k": 2}, {"top_p": 0.5}])
def test_logits_that_give_no_distribution_are_refused(broken, changes):
    rows = torch.stack([LOGITS, LOGITS])
    rows[1, 2] = broken
    with pytest.raises(NotFiniteError, match="the model's outputs are not finite"):
        draw(rows, torch.tensor([0.5, 0.5], dtype=torch.float64), settings(**changes))
