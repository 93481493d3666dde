"""The policy objective: hand-derived tokens, weights that no cut into micro-batches changes, KL, importance weights."""

import json
import math
from pathlib import Path

import pytest
import torch

from gapo_cli.config.algorithm import AGGREGATIONS
from gapo_cli.errors import UserError
from gapo_cli.training.objectives.aggregation import token_weights
from gapo_cli.training.objectives.clipped_policy import PolicyLoss, policy_loss, truncated_importance_weights
from gapo_cli.training.objectives.kl import low_var_kl

CASES = json.loads((Path(__file__).parents[2] / "golden" / "losses.json").read_text(encoding="utf-8"))["cases"]
CLIP = {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 10.0}


def doubles(*values: float, gradient: bool = False) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=gradient)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_hand_derived_token(case):
    logprobs = doubles(math.log(case["ratio"]) - 2, gradient=True)
    found = policy_loss(logprobs, doubles(-2), doubles(case["advantage"]), doubles(1), **CLIP)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(case["loss"])
    assert logprobs.grad.item() == pytest.approx(case["gradient"])
    assert found.clip_fraction.item() == case["clipped"]
    assert found.clip_fraction_lower.item() == case["clipped_lower"]
    assert found.kl.item() == pytest.approx(-math.log(case["ratio"]))


def test_token_mean_of_the_hand_derived_tokens_gives_means_of_loss_and_statistics():
    # all cases as one sequence of ten tokens: every sum divided by 10
    ratios = [case["ratio"] for case in CASES]
    weights = token_weights(torch.tensor([len(CASES)]), "token-mean").repeat(len(CASES)).double()
    logprobs = doubles(*map(math.log, ratios))
    found = policy_loss(logprobs, torch.zeros_like(logprobs), doubles(*(case["advantage"] for case in CASES)), weights, **CLIP)
    assert found.loss.item() == pytest.approx(sum(case["loss"] for case in CASES) / 10, rel=1e-6)
    assert found.clip_fraction.item() == pytest.approx(0.3)
    assert found.clip_fraction_lower.item() == pytest.approx(0.1)
    assert found.weight.item() == pytest.approx(1)


def test_gradient_raises_good_tokens_and_lowers_bad_ones_in_proportion():
    logprobs = doubles(-1.0, -3.0, -0.5, gradient=True)
    policy_loss(logprobs, logprobs.detach(), doubles(1.5, -0.5, 0.0), torch.full((3,), 1 / 3), **CLIP).loss.backward()
    # on policy the gradient of the loss is -advantage * weight: descent raises the first and lowers the second
    torch.testing.assert_close(logprobs.grad, doubles(-0.5, 1 / 6, 0.0), rtol=1e-6, atol=0)


def test_gradient_flows_through_the_current_logprobs_only():
    leaves = [doubles(-1.0, -2.0, gradient=True) for _ in range(4)]
    logprobs, old, importance, reference = leaves
    found = policy_loss(logprobs, old, doubles(1, -1), doubles(0.5, 0.5), **CLIP, importance_weights=importance)
    (found.loss + low_var_kl(logprobs * 1.5, reference).sum()).backward()
    assert logprobs.grad.abs().min() > 0
    assert old.grad is None and importance.grad is None and reference.grad is None
    assert not any(part.requires_grad for part in (found.clip_fraction, found.clip_fraction_lower, found.kl, found.weight))


def test_importance_weights_scale_each_token_after_clipping():
    advantages, old = doubles(2, 2, -0.5), torch.zeros(3, dtype=torch.float64)
    logprobs = doubles(0, math.log(1.5), math.log(16))
    found = policy_loss(logprobs, old, advantages, torch.ones(3), **CLIP, importance_weights=doubles(0.5, 2, 0.25))
    assert found.loss.item() == pytest.approx(-2 * 0.5 - 2.56 * 2 + 5 * 0.25)  # the token losses of the golden cases


def test_huge_log_ratios_stay_finite():
    logprobs = torch.tensor([0.0, -500.0, 0.0, -500.0], requires_grad=True)
    old = torch.tensor([-500.0, 0.0, -500.0, 0.0])
    found = policy_loss(logprobs, old, torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.ones(4), **CLIP)
    found.loss.backward()
    # hand: -1.28, -exp(-20), 10, .8; the first and the third are held by a clip, the others by the bound on log-ratios
    assert found.loss.item() == pytest.approx(-1.28 + 10 + 0.8, abs=1e-6)
    assert logprobs.grad.tolist() == [0, 0, 0, 0]


LENGTHS = torch.tensor([1, 2, 5, 2])


@pytest.mark.parametrize(
    ("aggregation", "divisor", "expected"),
    [
        ("token-mean", None, [1 / 10, 1 / 10, 1 / 10, 1 / 10]),
        ("seq-mean-token-mean", None, [1 / 4, 1 / 8, 1 / 20, 1 / 8]),
        ("seq-mean-token-sum", None, [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ("constant", 8.0, [1 / 32, 1 / 32, 1 / 32, 1 / 32]),
    ],
)
def test_token_weights_by_hand(aggregation, divisor, expected):
    torch.testing.assert_close(token_weights(LENGTHS, aggregation, divisor), torch.tensor(expected))


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean"])
def test_weights_of_a_mini_batch_add_up_to_one_where_the_aggregation_is_a_mean(aggregation):
    assert (token_weights(LENGTHS, aggregation) * LENGTHS).sum().item() == pytest.approx(1)


def test_sequence_without_tokens_makes_no_weight_infinite():
    for aggregation in AGGREGATIONS:
        assert torch.isfinite(token_weights(torch.tensor([0, 3]), aggregation, 8.0)).all()
        assert torch.isfinite(token_weights(torch.tensor([0]), aggregation, 8.0)).all()


def test_unknown_aggregation_names_the_allowed_ones():
    with pytest.raises(UserError, match="algorithm.aggregation=mean: need one of token-mean, seq-mean-token-mean"):
        token_weights(LENGTHS, "mean")


@pytest.mark.parametrize("divisor", [None, 0.0, -1.0])
def test_constant_aggregation_needs_a_divisor(divisor):
    with pytest.raises(UserError, match=f"algorithm.constant_divisor={divisor}: aggregation=constant needs"):
        token_weights(LENGTHS, "constant", divisor)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("sizes", [[1] * 6, [2, 2, 2], [4, 2], [6]], ids=str)
def test_cut_into_micro_batches_changes_neither_loss_nor_gradient_nor_statistics(aggregation, sizes):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1, 7, 3, 12, 2, 5])
    tokens = int(lengths.sum())
    old = -torch.rand(tokens, generator=generator, dtype=torch.float64)
    shift = torch.randn(tokens, generator=generator, dtype=torch.float64)
    advantages = torch.randn(6, generator=generator, dtype=torch.float64).repeat_interleave(lengths)
    weights = token_weights(lengths, aggregation, 16.0).double().repeat_interleave(lengths)

    def added_up(cut: list[int]) -> tuple[torch.Tensor, list[float]]:
        parameter = doubles(0.7, gradient=True)
        totals = [0.0] * 5
        start = 0
        for size in cut:
            part = slice(int(lengths[:start].sum()), int(lengths[: start + size].sum()))
            found = policy_loss(old[part] + parameter * shift[part], old[part], advantages[part], weights[part], **CLIP)
            found.loss.backward()
            totals = [total + getattr(found, name).item() for total, name in zip(totals, PolicyLoss.__slots__, strict=True)]
            start += size
        return parameter.grad, totals

    (gradient, totals), (whole_gradient, whole_totals) = added_up(sizes), added_up([6])
    assert abs(whole_gradient.item()) > 1e-3 and whole_totals[1] > 0
    torch.testing.assert_close(gradient, whole_gradient, rtol=1e-12, atol=0)
    assert totals == pytest.approx(whole_totals, rel=1e-12)


def test_truncated_importance_weights_are_ratios_up_to_the_cap():
    engine = doubles(0, 0, 0, 0)
    trainer = doubles(0, math.log(0.25), math.log(1.5), math.log(3)).requires_grad_()
    found = truncated_importance_weights(trainer, engine, cap=2.0)
    assert found.tolist() == pytest.approx([1, 0.25, 1.5, 2])
    assert not found.requires_grad


def test_truncated_importance_weights_stay_finite():
    assert truncated_importance_weights(
        torch.tensor([0.0, -800.0]), torch.tensor([-800.0, 0.0]), 2.0
    ).tolist() == pytest.approx([2, 0], abs=1e-8)
