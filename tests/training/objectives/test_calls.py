"""Terms of a user's that fail or give something else than one number a token. The tokens here are three numbers and no model."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from gapo_cli.errors import PartError, UserError
from gapo_cli.interfaces import TermCost
from gapo_cli.training.objectives import calls

TOKENS = SimpleNamespace(logprobs=torch.tensor([-1.0, -2.0, -3.0], requires_grad=True))


@dataclass
class Term:
    """Does `gives` with the tokens."""

    gives: object
    coefficient: float = 1.0

    def __call__(self, tokens):
        return self.gives(tokens)

    def before_update(self, policy):
        raise LookupError("no such layer")

    def cost(self, updates):
        return self.gives


def exits(tokens):
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (
            lambda tokens: tokens.logprobs[:, None],
            "gives a tensor of shape (3, 1); need 3 real numbers on cpu, one for each token",
        ),
        (lambda tokens: tokens.logprobs.sum(), "gives a tensor of shape (); need 3 real numbers"),
        (lambda tokens: tokens.logprobs[:2], "gives a tensor of shape (2,); need 3 real numbers"),
        (lambda tokens: tokens.logprobs.to("meta"), "gives a tensor of float32 on meta; need 3 real numbers on cpu"),
        (lambda tokens: tokens.logprobs > 0, "gives a tensor of bool on cpu; need 3 real numbers"),
        (lambda tokens: tokens.logprobs * 1j, "gives a tensor of complex64 on cpu; need 3 real numbers"),
        (lambda tokens: [1.0, 2.0, 3.0], "gives list; need a tensor"),
        (lambda tokens: None, "gives NoneType; need a tensor"),
        (lambda tokens: tokens.logprobs.detach(), "gives values without a gradient that are not 0; need some that depend on"),
        (lambda tokens: 1 / 0, "raised ZeroDivisionError: division by zero (at "),
        (exits, "raised SystemExit: 0 (at "),
    ],
)
def test_a_term_that_fails_or_gives_no_number_for_each_token_is_told_of_under_its_name(gives, said):
    with pytest.raises(PartError) as caught:
        calls.values("mine", Term(gives), TOKENS)
    assert str(caught.value).startswith(f"algorithm.terms.mine=Term: {said}")


@pytest.mark.parametrize(
    "gives",
    [
        lambda tokens: tokens.logprobs.square(),
        lambda tokens: tokens.logprobs * float("nan"),  # such a step is skipped and counted
        lambda tokens: torch.zeros(3),  # nothing to teach about these tokens
        lambda tokens: tokens.logprobs.double(),
    ],
)
def test_values_of_a_term_pass_as_they_are(gives):
    given = gives(TOKENS)
    assert calls.values("mine", Term(lambda tokens: given), TOKENS) is given


def test_memory_that_runs_out_in_a_term_keeps_the_advice_of_its_own():
    def hungry(tokens):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(RuntimeError) as caught:
        calls.values("mine", Term(hungry), TOKENS)
    assert not isinstance(caught.value, UserError)


def test_a_term_that_fails_to_look_back_or_to_say_what_it_costs_is_told_of_under_its_name():
    with pytest.raises(PartError, match=r"^algorithm.terms.mine=Term: raised LookupError: no such layer \(at"):
        calls.before_update("mine", Term(None), policy=None)
    with pytest.raises(PartError, match=r"^algorithm.terms.mine=Term: cost gives int; need gapo_cli.interfaces.TermCost$"):
        calls.cost("mine", Term(7), updates=2)
    assert calls.cost("mine", Term(TermCost(forward=0.5)), updates=2) == TermCost(forward=0.5)
    assert calls.cost("mine", lambda tokens: None, updates=2) == TermCost()
