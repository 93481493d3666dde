"""The smoothness term: KL from the policy before the rollout batch, over the whole vocabulary."""

import copy

import pytest
import torch
from term_parts import computed, flat_gradient, logits_of, random_tokens

from gapo_cli.config.trainer import LAYOUTS
from gapo_cli.errors import UserError
from gapo_cli.training.objectives.smoothness import Smoothness

PROMPTS, COMPLETIONS = random_tokens()


def moved(policy, by=0.05):
    """Changes the weights as an optimizer does: in place."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator) * parameter.std())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_the_divergence_from_the_weights_before_and_only_the_present_ones_learn(tiny_policy, layout):
    before, term = copy.deepcopy(tiny_policy.model), Smoothness(1.0)
    term.before_update(tiny_policy)
    moved(tiny_policy)
    expected = []
    for prompt, answers in zip(PROMPTS, COMPLETIONS, strict=True):
        for answer in answers:
            with torch.no_grad():
                logp = torch.log_softmax(logits_of(before, prompt, answer).double(), -1)
            logq = torch.log_softmax(logits_of(tiny_policy.model, prompt, answer).double(), -1)
            expected.append((logp.exp() * (logp - logq)).sum(-1))
    expected = torch.cat(expected)
    assert expected.min() > 1e-4
    of_plain = flat_gradient(tiny_policy, expected.sum().float())
    weights = copy.deepcopy(tiny_policy.model.state_dict())
    found = term(computed(tiny_policy, PROMPTS, COMPLETIONS, layout))
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-3)
    of_term = flat_gradient(tiny_policy, found.sum())
    assert (of_term - of_plain).norm() / of_plain.norm() < 1e-3
    assert all(torch.equal(value, weights[name]) for name, value in tiny_policy.model.state_dict().items())


def test_before_the_first_step_of_a_batch_it_is_nothing_and_makes_no_pass(tiny_policy):
    term = Smoothness(1.0)
    term.before_update(tiny_policy)
    tokens = computed(tiny_policy, PROMPTS, COMPLETIONS)
    passes = []
    tiny_policy.model.get_decoder().register_forward_pre_hook(lambda *_: passes.append(1))
    assert term(tokens).tolist() == [0] * len(tokens.logprobs)
    assert passes == []
    moved(tiny_policy)
    assert term(computed(tiny_policy, PROMPTS, COMPLETIONS)).max() > 0
    term.before_update(tiny_policy)
    assert term(computed(tiny_policy, PROMPTS, COMPLETIONS)).max() == 0


def test_of_adapters_the_adapters_alone_are_kept(tiny_policy):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    from dataclasses import replace

    from gapo_cli.config.model import LoraConfig
    from gapo_cli.models.lora import add_adapter

    policy = replace(tiny_policy, model=add_adapter(tiny_policy.model, LoraConfig(rank=2), "tiny").eval())
    term = Smoothness(1.0)
    term.before_update(policy)
    trained = [one for one in policy.model.parameters() if one.requires_grad]
    assert 0 < len(trained) == len(term.before) < len(list(policy.model.parameters()))
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.1)
    assert term(computed(policy, PROMPTS, COMPLETIONS)).max() > 0


def test_a_coefficient_below_zero_is_refused():
    with pytest.raises(UserError, match="Smoothness: coefficient=-1: need 0 or more"):
        Smoothness(-1)
