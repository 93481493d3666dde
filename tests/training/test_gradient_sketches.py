"""Sketches of gradients: linear, and exact where there is a place for every number."""

import numpy as np
import pytest
import torch
from parts import edit_task

from gapo_cli.models.packing.layout import LAY_OUT
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.records import Completion, Group
from gapo_cli.training.gradient_sketches import GradientSketch, completion_gradients

ANSWERS = ((5, 6, 7), (8, 9), (5, 6, 7), ())


def group() -> Group:
    completions = tuple(Completion(ids, (-1.0,) * len(ids), "", "stop") for ids in ANSWERS)
    zeros = np.zeros(len(ANSWERS))
    return Group(edit_task(0), (1, 2, 3, 4), completions, {"em": zeros}, zeros, zeros)


def gradient(policy, tokens) -> torch.Tensor:
    batch = LAY_OUT["padded"]([(1, 2, 3, 4)], [[tokens]], policy.pad_token_id)
    policy.model.zero_grad(set_to_none=True)
    completion_logprobs(policy.model, batch, 0.7).logprobs.sum().backward()
    return torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for one in policy.model.parameters()])


def test_with_a_place_for_every_number_products_are_those_of_the_gradients(tiny_policy):
    numbers = sum(one.numel() for one in tiny_policy.model.parameters())
    (sketches,) = completion_gradients(tiny_policy, [group()], 0.7, numbers + 3, seed=1)
    exact = torch.stack([gradient(tiny_policy, tokens) for tokens in ANSWERS[:2]]).double()
    assert sketches.shape == (4, numbers + 3)
    np.testing.assert_allclose(sketches[:2] @ sketches[:2].T, (exact @ exact.T).numpy(), rtol=1e-4)
    np.testing.assert_array_equal(sketches[0], sketches[2])
    assert not sketches[3].any()


def test_a_fold_is_linear_and_its_products_are_near_those_of_the_gradients(tiny_policy):
    first, second = (gradient(tiny_policy, tokens) for tokens in ANSWERS[:2])
    sketch = GradientSketch(tiny_policy.model, 509, seed=0)

    def fold(values):
        place = 0
        for parameter in sketch.parameters:
            parameter.grad = values[place : place + parameter.numel()].view_as(parameter).clone()
            place += parameter.numel()
        return sketch.take()

    folded, other = fold(first), fold(second)
    torch.testing.assert_close(fold(first + 2 * second), folded + 2 * other, rtol=1e-4, atol=1e-5)
    size = float(first.norm() * second.norm())
    assert float(folded @ other) == pytest.approx(float(first @ second), abs=4 * size / np.sqrt(509))
    assert all(parameter.grad is None for parameter in sketch.parameters)
