"""Attention over keys that lie in two places against the softmax over all of them, written out."""

import pytest
import torch

from gapo_cli.models.packing.merged_attention import attention_by_products, attention_with_weight, merged

WAYS = [attention_with_weight, attention_by_products]


def states(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


QUERY, KEYS, VALUES = states(3, 2, 5, 16, seed=0), states(3, 2, 40, 16, seed=1), states(3, 2, 40, 16, seed=2)
SCORES = 0.3 * QUERY @ KEYS.transpose(-1, -2)


@pytest.mark.parametrize("way", WAYS)
def test_output_and_weight_are_those_of_the_softmax(way):
    output, weight = way(QUERY, KEYS, VALUES, None, 0.3)
    assert torch.allclose(output, SCORES.softmax(-1) @ VALUES, atol=1e-5)
    assert torch.allclose(weight, SCORES.exp().sum(-1).log(), atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_a_masked_key_counts_for_nothing(way):
    mask = torch.zeros(3, 1, 1, 40)
    mask[0, ..., 7:] = mask[1, ..., 39:] = -torch.inf
    output, weight = way(QUERY, KEYS, VALUES, mask, 0.3)
    for row, keys in enumerate((7, 39, 40)):
        scores = SCORES[row, :, :, :keys]
        assert torch.allclose(output[row], scores.softmax(-1) @ VALUES[row, :, :keys], atol=1e-5)
        assert torch.allclose(weight[row], scores.exp().sum(-1).log(), atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_scores_of_half_precision_states_are_not_rounded(way):
    query, keys, values = 20 * QUERY.bfloat16(), KEYS.bfloat16(), VALUES.bfloat16()
    scores = 0.3 * query.float() @ keys.float().transpose(-1, -2)
    assert scores.abs().max() > 64  # where neighbours in bfloat16 are 1/2 apart
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, weight = way(query, keys, values, None, 0.3)
    assert torch.allclose(weight.float(), scores.logsumexp(-1), atol=1e-3)
    assert torch.allclose(output.float(), scores.softmax(-1) @ values.float(), atol=0.03)


@pytest.mark.parametrize("way", WAYS)
def test_keys_may_lie_token_by_token_as_completions_store_them(way):
    stored = [each.transpose(1, 2).contiguous().transpose(1, 2) for each in (KEYS, VALUES)]
    for found, expected in zip(way(QUERY, *stored, None, 0.3), way(QUERY, KEYS, VALUES, None, 0.3), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shift", [0.0, 200.0])
def test_two_parts_merged_are_attention_over_both(way, shift):
    # a shift of the first part's scores by 200 takes all the weight there: exp(200) has no float32
    first = way(QUERY, KEYS[:, :, :13], VALUES[:, :, :13], torch.full((3, 1, 1, 13), shift), 0.3)
    second = way(QUERY, KEYS[:, :, 13:], VALUES[:, :, 13:], None, 0.3)
    scores = SCORES.clone()
    scores[..., :13] += shift
    expected = scores.softmax(-1) @ VALUES
    assert torch.allclose(merged(*first, *second), expected, atol=1e-5)
    assert torch.allclose(merged(*second, *first), expected, atol=1e-5)
