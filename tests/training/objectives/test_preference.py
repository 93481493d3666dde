import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.training.objectives.preference import PairLogprobs, preference_losses, reward_margins


def pair(chosen, rejected, chosen_tokens=1, rejected_tokens=1):
    return PairLogprobs(*(torch.tensor([float(value)]) for value in (chosen, rejected, chosen_tokens, rejected_tokens)))


def test_a_policy_that_has_not_moved_has_margin_0_and_the_loss_of_a_coin():
    policy = pair(-3.0, -1.0, 2, 5)
    margins = reward_margins(policy, policy, beta=0.1)
    assert margins.item() == 0
    assert preference_losses(margins).item() == pytest.approx(math.log(2))


def test_loss_and_gradient_of_two_tokens_are_those_of_the_closed_form():
    # two tokens with logits (z, 0), the first is better: log p(0) - log p(1) = z, so the margin is beta (z - z_ref)
    z = torch.tensor(math.log(9.0), requires_grad=True)
    logprobs = torch.log_softmax(torch.stack([z, torch.zeros(())]), 0)
    policy = PairLogprobs.of(logprobs, [1, 1])
    # the reference gives both the same; beta 1/2: margin ln 9 / 2 = ln 3, sigmoid 3/4
    margins = reward_margins(policy, pair(math.log(0.5), math.log(0.5)), beta=0.5)
    losses = preference_losses(margins)
    assert margins.item() == pytest.approx(math.log(3))
    assert losses.item() == pytest.approx(math.log(4 / 3))
    losses.sum().backward()
    # d loss / d z = -beta sigmoid(-margin) = -1/2 * 1/4
    assert z.grad.item() == pytest.approx(-1 / 8)


def test_label_smoothing_mixes_both_directions():
    margin = torch.tensor([math.log(3)], requires_grad=True)
    losses = preference_losses(margin, label_smoothing=0.1)
    # 0.9 ln(4/3) + 0.1 ln 4; gradient 0.1 - 1/4
    assert losses.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))
    losses.sum().backward()
    assert margin.grad.item() == pytest.approx(-0.15)


@given(st.integers(1, 31))
def test_with_label_smoothing_the_loss_is_least_at_its_odds(number):
    smoothing = number / 64
    margin = torch.tensor([math.log((1 - smoothing) / smoothing)], dtype=torch.float64, requires_grad=True)
    preference_losses(margin, smoothing).sum().backward()
    assert margin.grad.item() == pytest.approx(0, abs=1e-12)


def test_per_token_each_log_ratio_is_divided_by_its_own_length():
    policy, reference = pair(-2.0, -9.0, 2, 3), pair(-4.0, -6.0, 2, 3)
    # log ratios 2 and -3: summed 0.5 (2 + 3), per token 0.5 (2/2 + 3/3)
    assert reward_margins(policy, reference, beta=0.5).item() == 2.5
    assert reward_margins(policy, reference, beta=0.5, per_token=True).item() == 1.0


def test_log_probabilities_are_summed_answer_by_answer():
    logprobs = torch.tensor([-1.0, -2.0, -4.0, -8.0, -16.0, -32.0])
    found = PairLogprobs.of(logprobs, [2, 1, 1, 2])
    assert found.chosen.tolist() == [-3, -8] and found.rejected.tolist() == [-4, -48]
    assert found.chosen_tokens.tolist() == [2, 1] and found.rejected_tokens.tolist() == [1, 2]


def test_the_reference_gets_no_gradient():
    reference = pair(-1.0, -2.0)
    reference.chosen.requires_grad_()
    policy = pair(-1.5, -1.0)
    policy.chosen.requires_grad_()
    preference_losses(reward_margins(policy, reference, beta=0.1)).sum().backward()
    assert reference.chosen.grad is None and policy.chosen.grad is not None
