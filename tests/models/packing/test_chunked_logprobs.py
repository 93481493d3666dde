"""Log-probabilities chunk by chunk are the same numbers with the same gradients, and far fewer of them at a time."""

import pytest
import torch
from peak_bytes import PeakBytes

from gapo_cli.models.packing.chunked_logprobs import (
    CHUNK_ELEMENTS,
    WHOLE_ELEMENTS,
    chunk_tokens,
    chunked_distribution,
    token_distribution,
)

TOKENS, WIDTH, VOCABULARY = 11, 8, 23


def some_head(bias=False, width=WIDTH, vocabulary=VOCABULARY):
    torch.manual_seed(4)
    return torch.nn.Linear(width, vocabulary, bias=bias)


def some_tokens(count=TOKENS, width=WIDTH, vocabulary=VOCABULARY):
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(count, width, generator=generator).requires_grad_()
    return hidden, torch.randint(vocabulary, (count,), generator=generator)


def loss_of(logprobs, entropy):
    """Each token with a weight of its own; the entropy too, where it has a gradient."""
    weights = torch.linspace(-1, 2, len(logprobs))
    loss = (logprobs * weights).sum()
    return loss if entropy is None or not entropy.requires_grad else loss + (entropy * weights.flip(0)).sum()


def results(compute, head, temperature, entropy, *chunk):
    """Log-probabilities, entropies, and the gradients of the hidden states and of the head's parameters."""
    head.zero_grad()
    hidden, labels = some_tokens()
    logprobs, entropies = compute(head, hidden, labels, temperature, entropy, *chunk)
    loss_of(logprobs, entropies).backward()
    values = [logprobs.detach(), *([] if entropies is None else [entropies.detach()])]
    return values + [hidden.grad] + [parameter.grad.clone() for parameter in head.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("entropy", ["none", "value", "gradient"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 4, TOKENS - 1])
def test_chunks_give_the_values_and_gradients_of_the_whole(chunk, temperature, entropy):
    head = some_head(bias=True)
    whole = results(token_distribution, head, temperature, entropy)
    for ours, expected in zip(results(chunked_distribution, head, temperature, entropy, chunk), whole, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_by_autocast_is_entered_again_for_the_backward_pass():
    head = some_head()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = results(token_distribution, head, 1.0, "value")
    full = results(token_distribution, head, 1.0, "value")
    head.zero_grad()
    hidden, labels = some_tokens()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logprobs, entropy = chunked_distribution(head, hidden, labels, 1.0, "value", 4)
    loss_of(logprobs, entropy).backward()  # outside, as training does it
    assert torch.equal(logprobs, whole[0])
    assert torch.equal(entropy, whole[1])
    assert torch.equal(hidden.grad, whole[2])
    assert not torch.allclose(hidden.grad, full[2], rtol=1e-5, atol=1e-6)


def test_an_entropy_that_is_only_looked_at_has_no_gradient():
    head, (hidden, labels) = some_head(), some_tokens()
    for _, entropy in (
        token_distribution(head, hidden, labels, 1.0, "value"),
        chunked_distribution(head, hidden, labels, 1.0, "value", 4),
    ):
        assert not entropy.requires_grad


def test_a_head_is_trained_above_hidden_states_that_are_not():
    head, (hidden, labels) = some_head(), some_tokens()
    hidden.requires_grad_(False)
    token_distribution(head, hidden, labels, 1.0, "none")[0].sum().backward()
    expected = head.weight.grad.clone()
    head.zero_grad()
    chunked_distribution(head, hidden, labels, 1.0, "none", 4)[0].sum().backward()
    assert torch.allclose(head.weight.grad, expected, atol=1e-6)


def test_a_frozen_head_gets_no_gradient_and_passes_one_on():
    head = some_head().requires_grad_(False)
    whole = results(token_distribution, head, 1.0, "none")
    assert torch.allclose(results(chunked_distribution, head, 1.0, "none", 4)[1], whole[1], atol=1e-6)
    assert head.weight.grad is None


def test_gradients_add_up_over_micro_batches():
    head, (hidden, labels) = some_head(), some_tokens()
    for _ in range(2):
        chunked_distribution(head, hidden, labels, 1.0, "none", 4)[0].sum().backward()
    twice = head.weight.grad.clone()
    head.zero_grad()
    chunked_distribution(head, hidden, labels, 1.0, "none", 4)[0].sum().backward()
    assert torch.allclose(twice, 2 * head.weight.grad)


@pytest.mark.parametrize("entropy", ["value", "gradient"])
def test_a_chunks_logits_are_all_that_is_in_memory(entropy):
    tokens, vocabulary, chunk = 200, 5000, 10
    head, (hidden, labels) = some_head(4, vocabulary=vocabulary, width=4), some_tokens(tokens, 4, vocabulary)
    whole, chunked = PeakBytes(), PeakBytes()
    with whole:
        loss_of(*token_distribution(head, hidden, labels, 1.0, entropy)).backward()
    head.zero_grad()
    with chunked:
        loss_of(*chunked_distribution(head, hidden, labels, 1.0, entropy, chunk)).backward()
    # in one piece: the logits and what the softmax makes of them; in chunks: a twentieth, and the gradient of the head
    logits, head_bytes = tokens * vocabulary * 4, 5 * vocabulary * 4
    assert whole.peak > 2 * logits
    assert chunked.peak < 8 * logits * chunk / tokens + 3 * head_bytes
    assert chunked.peak < whole.peak / 4


def test_the_estimate_takes_one_piece_while_the_logits_are_small_and_chunks_that_fit_beyond():
    vocabulary = 150_000
    # 2**26 / 150,000 = 447.4 tokens in one piece; 2**25 / 150,000 = 223.7
    assert (WHOLE_ELEMENTS, CHUNK_ELEMENTS) == (2**26, 2**25)
    assert chunk_tokens("auto", 447, vocabulary) == 0
    assert chunk_tokens("auto", 448, vocabulary) == 223
    assert chunk_tokens("auto", 10_000, 2048) == 0


def test_a_number_of_tokens_is_taken_as_it_is_and_0_is_never():
    assert chunk_tokens(0, 10**9, 150_000) == 0
    assert chunk_tokens(64, 65, 100) == 64
    assert chunk_tokens(64, 64, 100) == 0  # one chunk is the whole
