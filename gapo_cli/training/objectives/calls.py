"""A term of the policy loss at work: every call of one goes through here, and one that fails is told of under its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapo_cli.errors import PartError, is_gapos, name_of, part_at_work
from gapo_cli.interfaces import CostlyTerm, LookingBack, LossTerm, TermCost

if TYPE_CHECKING:  # planning asks for costs without torch
    from torch import Tensor

    from gapo_cli.training.objectives.terms import ComputedTokens


def values(name: str, term: LossTerm, tokens: ComputedTokens) -> Tensor:
    """The value of `algorithm.terms.NAME` for each of the N tokens, (N,). Raises PartError where the term fails, gives anything else,
    which torch might broadcast without a word, or gives values that nothing can be learnt from. NaN passes: such a step is skipped
    and counted."""
    with part_at_work(_key(name), term):
        found = term(tokens)
        fault = _fault(found, like=tokens.logprobs)
        # gapo's own terms have no gradient where they are 0: no copy from a GPU is made to see that
        if fault is None and not found.requires_grad and not is_gapos(term) and bool(found.any()):
            fault = "values without a gradient that are not 0; need some that depend on the policy, or the term teaches nothing"
    if fault is not None:
        raise PartError(f"{_key(name)}={name_of(term)}: gives {fault}")
    return found


def before_update(name: str, term: LossTerm, policy: Any) -> None:
    """Shows the policy to a term that looks back at it; nothing for another."""
    if isinstance(term, LookingBack):
        with part_at_work(_key(name), term):
            term.before_update(policy)


def cost(name: str, term: LossTerm, updates: int) -> TermCost:
    """What the term says that it costs; nothing where it does not say."""
    if not isinstance(term, CostlyTerm):
        return TermCost()
    with part_at_work(_key(name), term):
        found = term.cost(updates)
    if not isinstance(found, TermCost):
        given = type(found).__name__
        raise PartError(f"{_key(name)}={name_of(term)}: cost gives {given}; need gapo_cli.interfaces.TermCost")
    return found


def _fault(found: Any, like: Tensor) -> str | None:
    """What is wrong with the kind of a term's values, by what a tensor says of itself: none of its numbers is looked at."""
    import torch

    need = f"need {len(like)} real numbers on {like.device}, one for each token"
    if not isinstance(found, torch.Tensor):
        return f"{type(found).__name__}; need a tensor"
    if found.shape != like.shape:
        return f"a tensor of shape {tuple(found.shape)}; {need}"
    if not found.is_floating_point() or found.device != like.device:
        return f"a tensor of {str(found.dtype).removeprefix('torch.')} on {found.device}; {need}"
    return None


def _key(name: str) -> str:
    return f"algorithm.terms.{name}"
