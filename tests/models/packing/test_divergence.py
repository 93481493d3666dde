"""KL between two distributions over the vocabulary: against torch's own, near zero, and by chunks."""

import pytest
import torch

from gapo_cli.models.packing import chunked_logprobs
from gapo_cli.models.packing.divergence import divergence, token_divergence


def random_logits(tokens=7, vocabulary=50, seed=0, scale=3.0):
    return scale * torch.randn(tokens, vocabulary, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_it_is_the_kullback_leibler_divergence(scale, temperature):
    first, second = random_logits(scale=scale), random_logits(seed=1, scale=scale)
    logp, logq = (torch.log_softmax(one.double() / temperature, -1) for one in (first, second))
    expected = torch.nn.functional.kl_div(logq, logp, reduction="none", log_target=True).sum(-1)
    assert divergence(first, second, temperature).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_equal_distributions_have_none_and_no_gradient():
    first = random_logits().requires_grad_()
    second = random_logits().requires_grad_()
    found = divergence(first, second, 1.0)
    assert found.tolist() == [0] * 7
    found.sum().backward()
    assert first.grad.abs().max() == second.grad.abs().max() == 0


def test_a_small_difference_is_half_the_variance_of_the_logits():
    # KL(p, p + dl) is half the variance of dl under p, to second order; plain sums of p log p would lose it in rounding
    first, step = random_logits(), 1e-4 * random_logits(seed=2)
    p = torch.softmax(first.double(), -1)
    mean = (p * step.double()).sum(-1, keepdim=True)
    expected = 0.5 * (p * (step.double() - mean) ** 2).sum(-1)
    assert divergence(first, first + step, 1.0).tolist() == pytest.approx(expected.tolist(), rel=2e-2)


def test_chunks_give_the_same_values_and_gradients(monkeypatch):
    found = []
    for whole, chunk in ((2**26, 2**25), (1, 2 * 3 * 50)):
        monkeypatch.setattr(chunked_logprobs, "WHOLE_ELEMENTS", whole)
        monkeypatch.setattr(chunked_logprobs, "CHUNK_ELEMENTS", chunk)
        torch.manual_seed(0)
        head = torch.nn.Linear(8, 50, bias=False)
        first, second = torch.randn(7, 8, requires_grad=True), torch.randn(7, 8, requires_grad=True)
        values = token_divergence(head, first, head, second, 0.9)
        (values * torch.arange(7)).sum().backward()
        found.append([values.detach(), first.grad, second.grad, head.weight.grad])
    for whole, chunked in zip(*found, strict=True):
        assert torch.allclose(whole, chunked, rtol=1e-5, atol=1e-7)
    assert found[0][3].norm() > 0
