"""Plain values become typed sections, or one sentence says what does not fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from gapo_cli.config.algorithm import PPOConfig
from gapo_cli.config.trainer import OptimizerConfig
from gapo_cli.config.typed import build_section, typed_arguments
from gapo_cli.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: float
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Outer:
    steps: int
    inner: Inner
    name: str = "x"
    chat: bool = False
    limit: int | None = None
    extra: Inner | None = None
    folder: Path = Path()
    words: tuple[str, ...] = ()
    chunk: int | Literal["auto"] = "auto"


def build(**values):
    return build_section(Outer, {"steps": 3, "inner": {"rate": 1}} | values, "outer", frozenset({"helper"}))


def test_values_take_the_types_of_their_fields():
    section = build(steps=1e3, name=7, folder="a/b", limit=None, extra={"rate": 0.5, "betas": [0, 1]}, helper="ignored")
    assert section == Outer(1000, Inner(1.0), "7", False, None, Inner(0.5, (0.0, 1.0)), Path("a/b"))
    assert isinstance(section.steps, int)
    assert isinstance(section.inner.rate, float)


def test_a_list_of_any_length_becomes_a_tuple():
    assert [build(words=words).words for words in ([], ["a", "b"])] == [(), ("a", "b")]


def test_a_number_may_have_a_word_beside_it():
    assert build(chunk="auto").chunk == "auto"
    assert build(chunk=7.0).chunk == 7


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"words": "ab"}, r"outer.words=ab: need a list, outer.words=\[...\]"),
        ({"words": ["a", None]}, r"outer.words=null: need a text"),
        ({"steps": "abc"}, "outer.steps=abc: need a whole number"),
        ({"chunk": "half"}, "outer.chunk=half: need a whole number or auto"),
        ({"chunk": None}, "outer.chunk=null: need a whole number or auto"),
        ({"steps": 1.5}, "outer.steps=1.5: need a whole number"),
        ({"steps": True}, "outer.steps=true: need a whole number"),
        ({"steps": None}, "outer.steps=null: need a whole number"),
        ({"steps": float("inf")}, "outer.steps=inf: need a whole number"),
        ({"inner": {"rate": float("nan")}}, "outer.inner.rate=nan: need a number"),
        ({"inner": 3}, "outer.inner=3: need a section with rate, betas"),
        ({"inner": {}}, "outer.inner.rate: needs a value; outer.inner needs rate"),
        ({"inner": {"rate": 1, "betas": [1, 2, 3]}}, r"outer.inner.betas=\[1,2,3\]: need 2 values"),
        ({"chat": "maybe"}, "outer.chat=maybe: need true or false"),
        ({"name": [1]}, r"outer.name=\[1\]: need a text"),
        ({"folder": None}, "outer.folder=null: need a path"),
        ({"limit": "many"}, "outer.limit=many: need a whole number"),
        ({"stpes": 3}, "outer.stpes: unknown key; did you mean outer.steps?"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_is_needed(values, sentence):
    with pytest.raises(UserError, match=sentence):
        build(**values)


@dataclass(frozen=True)
class Part:
    count: int = 1
    most: int | None = None
    name: str | None = None
    shares: tuple[float, ...] | None = None
    margin: tuple[int, int] = (1, 5)
    measure: Callable[[str], int] | None = None
    extra: Mapping[str, int] | None = None


def test_plain_arguments_of_a_part_take_the_types_of_their_fields():
    values = {"_target_": "x", "count": 2e3, "most": None, "name": 7, "shares": [1, 0], "measure": "len", "extra": {"a": "b"}}
    typed = typed_arguments(Part, values, "part")
    assert typed == {"count": 2000, "most": None, "name": "7", "shares": (1.0, 0.0)}
    assert isinstance(typed["count"], int)
    assert isinstance(typed["shares"][0], float)
    assert typed_arguments(dict, {"anything": "goes"}, "part") == {}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"count": "many"}, "part.count=many: need a whole number"),
        ({"most": 2.5}, "part.most=2.5: need a whole number"),
        ({"most": True}, "part.most=true: need a whole number"),
        ({"name": True}, "part.name=true: need a text"),
        ({"shares": [True, 0]}, "part.shares=true: need a number"),
        ({"margin": 3}, r"part.margin=3: need 2 values"),
        ({"maost": 2}, "part.maost: unknown key; did you mean part.most?"),
    ],
)
def test_an_argument_that_does_not_fit_is_named_with_what_is_needed(values, sentence):
    with pytest.raises(UserError, match=sentence):
        typed_arguments(Part, values, "part")


def test_the_baselines_that_may_be_named_are_those_that_there_are():
    from gapo_cli.config.sampling import BASELINES
    from gapo_cli.evaluation.baselines import BASELINES as RULES

    assert tuple(RULES) == BASELINES


def test_a_section_that_stands_in_several_places_is_named_by_where_it_stands():
    values = {"algorithm.ppo.optimizer": {"learning_rate": -1.0}, "dpo.optimizer": {"learning_rate": -1.0}}
    for place, given in values.items():
        with pytest.raises(UserError, match=rf"^{place}.learning_rate=-1.0: need a number above 0$"):
            build_section(OptimizerConfig, given, place)
    with pytest.raises(UserError, match=r"^algorithm.ppo.gamma=2.0: need 0 to 1$"):
        build_section(PPOConfig, {"optimizer": {"learning_rate": 1.0}, "gamma": 2.0}, "algorithm.ppo")
