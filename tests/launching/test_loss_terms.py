"""`algorithm.terms` on the command line: changed by name, switched off, taken away, a user's own put in."""

import sys

import pytest

from gapo_cli.errors import UserError
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.training.objectives.entropy import EntropyBonus
from gapo_cli.training.objectives.kl import LowVarKL

OWN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Shorter:
    coefficient: float
    every_token = False
    needs_reference = False
    needs_entropy = False

    def __call__(self, tokens):
        return tokens.logprobs
"""


@pytest.fixture
def terms(tmp_path):
    """The built terms of a training run, in their order."""

    def of(*words):
        with open_tree(None) as hydra:
            config = compose_overrides(hydra, command_overrides("train", words))
            choices = dict(config.hydra.runtime.choices)
            return list(build_experiment(without_hydra(config), choices, tmp_path).algorithm.terms.items())

    return of


def test_grpo_has_the_papers_kl_and_dapo_has_no_term(terms):
    assert terms("algorithm=grpo") == [("kl", LowVarKL(0.01))]
    assert terms("algorithm=dapo") == []


def test_a_coefficient_is_changed_by_the_terms_name(terms):
    assert terms("algorithm=dapo", "algorithm.terms.kl.coefficient=0.02") == [("kl", LowVarKL(0.02))]
    both = terms("algorithm.terms.entropy.coefficient=0.003")
    assert both == [("kl", LowVarKL(0.01)), ("entropy", EntropyBonus(0.003))]


@pytest.mark.parametrize(
    "word", ["algorithm.terms.kl.coefficient=0", "~algorithm.terms.kl", "~algorithm.terms", "algorithm.terms=null"]
)
def test_a_term_is_switched_off_or_taken_away(terms, word):
    assert terms(word) == []


def test_a_users_own_class_is_a_term(terms, tmp_path, monkeypatch):
    (tmp_path / "own_terms.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    word = "+algorithm.terms.shorter={_target_:own_terms.Shorter,coefficient:0.5}"
    with pytest.raises(UserError, match=r"algorithm.terms.shorter._target_=own_terms.Shorter: .*allow_targets=\[own_terms\]"):
        terms(word)
    (kl, (name, term)) = terms(word, "allow_targets=[own_terms]")
    assert (kl[0], name, term.coefficient) == ("kl", "shorter", 0.5)
    sys.modules.pop("own_terms")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("algorithm.terms.kl.coefficient=-1", "LowVarKL: coefficient=-1.0: need 0 or more"),
        ("algorithm.terms.kl.coefficient=much", "algorithm.terms.kl.coefficient=much: need a number"),
        ("+algorithm.terms.mine.coefficient=1", "algorithm.terms.mine: needs a _target_, the class to build$"),
        (
            "+algorithm.terms.mine={_target_:gapo_cli.estimators.gapo.GAPO}",
            "algorithm.terms.mine: GAPO is no term of a loss; it needs coefficient, every_token, needs_entropy, needs_reference",
        ),
        ("algorithm.kl_coefficient=0", "did you mean algorithm.terms.kl.coefficient"),
    ],
)
def test_what_is_no_term_is_answered_in_one_sentence(terms, word, sentence):
    with pytest.raises(UserError, match=sentence):
        terms(word)
