"""The Jacobian term against the plain way to compute it, its limit for a small step, and what its draws depend on."""

import pytest
import torch
from term_parts import computed, flat_gradient, logits_of, random_tokens

from gapo_cli.config.trainer import LAYOUTS
from gapo_cli.errors import UserError
from gapo_cli.models.packing.layout import LAY_OUT
from gapo_cli.training.objectives.jacobian import Jacobian

PROMPTS, COMPLETIONS = random_tokens()


def steps_of(policy, term):
    """The step of each prompt, as the term adds it: (prompt, hidden size)."""
    batch = LAY_OUT["masked"](PROMPTS, COMPLETIONS, 0)
    embeddings = policy.model.get_input_embeddings()(batch.input_ids).detach()
    added = term.perturbed(embeddings, batch, PROMPTS, COMPLETIONS)[0] - embeddings
    return [added[row, : len(prompt)] for row, prompt in enumerate(PROMPTS)]


def plainly(policy, term, temperature=1.0):
    """KL(pi(. | x) || pi(. | x + delta)) / |delta|^2 of each token, row by row."""
    values = []
    for prompt, answers, step in zip(PROMPTS, COMPLETIONS, steps_of(policy, term), strict=True):
        for answer in answers:
            logp = torch.log_softmax(logits_of(policy.model, prompt, answer).double() / temperature, -1)
            logq = torch.log_softmax(logits_of(policy.model, prompt, answer, step).double() / temperature, -1)
            values.append((logp.exp() * (logp - logq)).sum(-1) / step.double().square().sum())
    return torch.cat(values)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_each_layout_gives_the_values_and_the_gradient_of_the_plain_way(tiny_policy, layout, temperature):
    term = Jacobian(1.0, step=0.1, share=1)
    expected = plainly(tiny_policy, term, temperature)
    of_plain = flat_gradient(tiny_policy, expected.sum().float())
    found = term(computed(tiny_policy, PROMPTS, COMPLETIONS, layout, temperature))
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-3)
    of_term = flat_gradient(tiny_policy, found.sum())
    assert (of_term - of_plain).norm() / of_plain.norm() < 1e-3


def test_for_a_small_step_it_is_half_the_variance_of_the_logits_change(tiny_policy):
    # delta' J'F J delta / (2 |delta|^2), J delta by a finite difference from both sides
    term = Jacobian(1.0, step=3e-4, share=1)
    model = tiny_policy.model.double()
    found = term(computed(tiny_policy, PROMPTS, COMPLETIONS, "padded"))
    expected = []
    for prompt, answers, step in zip(PROMPTS, COMPLETIONS, steps_of(tiny_policy, term), strict=True):
        for answer in answers:
            p = torch.softmax(logits_of(model, prompt, answer), -1)
            change = (logits_of(model, prompt, answer, step) - logits_of(model, prompt, answer, -step)) / 2
            variance = (p * change**2).sum(-1) - (p * change).sum(-1) ** 2
            expected.append(variance / 2 / step.square().sum())
    assert found.tolist() == pytest.approx(torch.cat(expected).tolist(), rel=2e-2)


def test_the_step_has_the_size_that_is_asked_for(tiny_policy):
    embeddings = tiny_policy.model.get_input_embeddings()
    for prompt, step in zip(PROMPTS, steps_of(tiny_policy, Jacobian(1.0, step=0.1)), strict=True):
        own = embeddings(torch.tensor(prompt)).detach()
        # a hundred and more draws of a normal distribution: their size is known within a few percent
        assert float(step.norm() / own.norm()) == pytest.approx(0.1, rel=0.25)


def test_the_draw_depends_on_the_prompt_and_the_weights_alone(tiny_policy):
    term, again = Jacobian(1.0, share=1), Jacobian(1.0, share=1)
    for one in (term, again):
        one.before_update(tiny_policy)
    together = term(computed(tiny_policy, PROMPTS, COMPLETIONS))
    alone = [again(computed(tiny_policy, [prompt], [answers])) for prompt, answers in zip(PROMPTS, COMPLETIONS, strict=True)]
    assert torch.cat(alone).tolist() == pytest.approx(together.tolist(), rel=1e-3)
    with torch.no_grad():
        for parameter in tiny_policy.model.parameters():
            parameter.mul_(1.01)
    again.before_update(tiny_policy)
    assert again.seed != term.seed


def test_a_share_of_the_prompts_stands_for_all_of_them(tiny_policy):
    prompts, completions = random_tokens(seed=1, groups=12)
    tokens = computed(tiny_policy, prompts, completions)
    whole, half = Jacobian(1.0, share=1)(tokens), Jacobian(1.0, share=0.5)(tokens)
    perturbed = half != 0
    assert 0 < perturbed.sum() < len(half)
    # the same steps, divided by the share
    assert half[perturbed].tolist() == pytest.approx((2 * whole[perturbed]).tolist(), rel=1e-3)
    rounds = []
    for seed in range(60):
        term = Jacobian(1.0, share=0.5)
        term.seed = seed
        with torch.no_grad():
            rounds.append(float(term(tokens).mean()))
    assert sum(rounds) / len(rounds) == pytest.approx(float(whole.detach().mean()), rel=0.25)


def test_no_pass_is_made_where_no_prompt_is_drawn(tiny_policy):
    term = Jacobian(1.0, share=1e-9)
    tokens = computed(tiny_policy, PROMPTS, COMPLETIONS)
    passes = []
    tiny_policy.model.get_decoder().register_forward_pre_hook(lambda *_: passes.append(1))
    assert term(tokens).tolist() == [0] * len(tokens.logprobs)
    assert passes == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"coefficient": -1}, "coefficient=-1: need 0 or more"), ({"step": 0}, "step=0: need above 0"),
     ({"share": 0}, "share=0: need 0 < share <= 1"), ({"share": 1.5}, "share=1.5: need 0 < share <= 1")],
)  # fmt: skip
def test_settings_outside_their_range_are_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        Jacobian(**{"coefficient": 1.0} | settings)
