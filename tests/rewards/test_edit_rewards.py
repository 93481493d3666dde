"""Rewards that look at the edit: delta_chrf, kept_rate, progress, parses and their mix."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import edit_task

from gapo_cli.errors import UserError
from gapo_cli.rewards.delta_chrf import DeltaChrf
from gapo_cli.rewards.em import ExactMatch
from gapo_cli.rewards.kept_rate import KeptRate
from gapo_cli.rewards.mix import Mix, standardised
from gapo_cli.rewards.progress import Progress

TASK = edit_task(1, region="total = a + b\n", target="total = a + b + c\n")
STILL = edit_task(2, region="a = b\n", target="a = b\n")
TEXTS = st.text("ab \n", max_size=12)


def scores(reward, task, *predictions):
    return reward(list(predictions), [task] * len(predictions))["score"]


@pytest.mark.parametrize("reward", [DeltaChrf(), KeptRate(), Progress()])
def test_the_right_edit_earns_one_and_a_copy_or_a_malformed_answer_nothing(reward):
    assert scores(reward, TASK, "total = a + b + c\n", TASK.region, None).tolist() == [1, 0, 0]
    assert scores(reward, TASK, "total = a + b + c").tolist() == [1]  # without its line end it is the same edit
    assert reward([], [])["score"].shape == (0,)
    with pytest.raises(ValueError):
        reward(["a"], [TASK, TASK])


@pytest.mark.parametrize("reward", [DeltaChrf(), KeptRate(), Progress()])
def test_where_nothing_should_change_the_copy_is_right(reward):
    right, wrong = scores(reward, STILL, "a = b\n", "something = else_entirely(b)\n")
    assert right == 1 and wrong == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("reward", [DeltaChrf(), KeptRate(), Progress()])
def test_any_acceptable_target_is_right(reward):
    several = replace(TASK, alternatives=("total = sum(values)\n", TASK.region))
    assert scores(reward, several, *several.targets).tolist() == [1, 1, 1]


def test_delta_chrf_has_the_constants_that_are_named():
    extra = "total = a + b + c\nprint(total)\n"
    assert scores(DeltaChrf(), TASK, extra) == pytest.approx(0.351403, abs=1e-6)
    assert scores(DeltaChrf("zed-2026-03"), TASK, extra) == pytest.approx(0.6843, abs=5e-5)
    with pytest.raises(UserError, match=r"reward\.constants=mine"):
        DeltaChrf("mine")


def test_kept_rate_is_weighed_with_what_the_answer_has_of_the_edit():
    found = KeptRate()(["total = a + b +\n"], [TASK])
    # new units of the answer: " " and "+", both right, 2 of 2 bytes; the right edit has " ", "+", " ", "c": 2 of 4
    assert (found["kept_rate"][0], found["kept_recall"][0]) == (1, 0.5)
    assert found["score"][0] == pytest.approx(2 / 3)


def test_progress_is_what_is_gained_over_a_copy():
    task = edit_task(1, region="aaaaaaaa", target="aaaabbbb")
    # a copy has 4 of 8; 6 of 8 is half of the way, 2 of 8 half of a way back
    found = Progress()(["aaaabbaa", "aaaaaaaa", "aacccccc", "aaaabbbb"], [task] * 4)
    assert found["progress"].tolist() == [0.5, 0, -0.5, 1]
    assert found["score"].tolist() == [0.5, 0, 0, 1]


@given(TEXTS, TEXTS, TEXTS)
def test_scores_stay_in_range(region, target, prediction):
    task = edit_task(1, region=region, target=target)
    for reward in (DeltaChrf(), KeptRate(), Progress()):
        assert 0 <= scores(reward, task, prediction)[0] <= 1


def mix(weights, normalise=False):
    return Mix({"em": ExactMatch, "progress": Progress, "delta": partial(DeltaChrf, "zed-2026-02")}, weights, normalise)


def test_a_mix_is_the_weighted_mean_and_keeps_each_part():
    task = edit_task(1, region="aaaaaaaa", target="aaaabbbb")
    found = mix({"em": 1, "progress": 3})(["aaaabbaa", "aaaabbbb", None], [task] * 3)
    assert set(found) == {"em", "progress", "score"}
    assert found["em"].tolist() == [0, 1, 0] and found["progress"].tolist() == [0.5, 1, 0]
    assert found["score"].tolist() == [0.375, 1, 0]


def test_a_normalised_mix_standardises_each_part_within_a_task():
    task = edit_task(1, region="aaaaaaaa", target="aaaabbbb")
    found = mix({"em": 1, "progress": 1}, normalise=True)(
        ["aaaabbaa", "aaaaaaaa", *["aaaaaaaa"] * 2], [task, task, STILL, STILL]
    )
    # em does not vary: it does not count; progress 0.5 and 0 are one deviation above and below; the other task's are equal
    assert found["score"].tolist() == [0.5, -0.5, 0, 0]
    assert standardised(np.array([1.0, np.nan, 0.0]), [task] * 3).tolist()[::2] == [1, -1]


def test_weights_that_make_no_mix_are_refused():
    for weights, sentence in (
        ({"progess": 1}, r"reward\.weights\.progess: no such part; did you mean progress\?"),
        ({"em": -1}, r"reward\.weights\.em=-1: need a number of 0 or more"),
        ({"em": 0}, r"reward\.weights: all are 0"),
    ):
        with pytest.raises(UserError, match=sentence):
            mix(weights)


def test_an_answer_that_brings_in_syntax_errors_does_not_parse():
    pytest.importorskip("tree_sitter_language_pack")
    from gapo_cli.rewards.parses import Parses

    task = edit_task(1, region="def f():\n    pass\n", target="def g():\n    pass\n")
    assert scores(Parses(), task, "def g(:\n    pass\n", "def g():\n    return 1\n", None).tolist() == [0, 1, 0]
    broken = edit_task(1, region="def f(:\n    pass\n", target="")
    # what was wrong before may stay wrong
    assert scores(Parses(), broken, "def g(:\n    pass\n", "def g(:\n    pass)]\n").tolist() == [1, 0]
    assert scores(Parses(), replace(task, language="unknown"), "((((").tolist() == [1]
    assert scores(
        Parses(), replace(task, language="typescript", path="a.tsx", excerpt="", editable=(0, 0)), "<a/>;"
    ).tolist() == [1]


def test_the_extra_that_parses_needs_is_named(monkeypatch):
    import importlib.util

    from gapo_cli.rewards.parses import Parses

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"reward=parses needs: pip install 'gapo-cli\[parses\]'"):
        Parses()
