"""The KL term: the k3 estimate by hand, its bounds, and what the term says of itself."""

import math

import pytest
import torch

from gapo_cli.errors import UserError
from gapo_cli.training.objectives.kl import LowVarKL, low_var_kl


def doubles(*values: float, gradient: bool = False) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=gradient)


def test_low_var_kl_is_zero_for_equal_and_positive_for_other_logprobs():
    assert low_var_kl(doubles(-1.0), doubles(-1.0)).tolist() == [0]
    # hand: d = ln 2: 2 - ln 2 - 1 = .306853; d = -ln 2: .5 + ln 2 - 1 = .193147
    found = low_var_kl(doubles(-2.0, -2.0), doubles(-2 + math.log(2), -2 - math.log(2)))
    assert found.tolist() == pytest.approx([0.306853, 0.193147], abs=1e-6)


def test_low_var_kl_averages_to_the_exact_divergence():
    # KL(p, q) = Σ p ln(p / q), over p's own samples: the expectation of k3 is exact
    p, q = doubles(0.5, 0.3, 0.2), doubles(0.2, 0.2, 0.6)
    assert (p * low_var_kl(p.log(), q.log())).sum().item() == pytest.approx((p * (p / q).log()).sum().item())


def test_low_var_kl_pulls_towards_the_reference():
    logprobs = doubles(-1.0, -3.0, gradient=True)
    low_var_kl(logprobs, doubles(-2.0, -2.0)).sum().backward()
    # d/dlogp (exp(d) - d - 1) = 1 - exp(d): d = -1 → .632121, d = 1 → -1.718282; descent lowers the first, raises the second
    assert logprobs.grad.tolist() == pytest.approx([0.632121, -1.718282], abs=1e-6)


def test_low_var_kl_of_one_token_is_bounded():
    logprobs = torch.tensor([-1000.0, 0.0, 0.0])
    # hand: exp(20) - 21, cut to 10; d = -20: exp(-20) + 19, cut to 10; d = -5: .006738 + 4
    assert low_var_kl(logprobs, torch.tensor([0.0, -1000.0, -5.0])).tolist() == pytest.approx([10, 10, 4.006738], abs=1e-5)


def test_a_negative_coefficient_is_refused():
    with pytest.raises(UserError, match="coefficient=-0.1: need 0 or more"):
        LowVarKL(-0.1)
