"""Exact match, edit similarity and BLEU: against a plain dynamic programme, hand-derived pairs, and each other's bulk form."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.edits import matching

CASES = [
    case
    for case in json.loads((Path(__file__).parents[1] / "golden" / "rewards.json").read_text(encoding="utf-8"))["cases"]
    if case["prediction"] is not None
]
texts = st.text(alphabet="ab (\n=é🙂", max_size=24)


def plain_edit_similarity(prediction: str, target: str) -> float:
    """The textbook table, one row at a time."""
    prediction, target = prediction.strip(), target.strip()
    if not prediction and not target:
        return 1.0
    row = list(range(len(target) + 1))
    for i, left in enumerate(prediction, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(target, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return 1 - row[-1] / max(len(prediction), len(target))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_hand_derived_pair(case):
    pair = case["prediction"], case["target"]
    assert matching.exact_match(*pair) is bool(case["em"])
    assert matching.edit_similarity(*pair) == pytest.approx(case["ed"], abs=1e-6)
    assert matching.bleu(*pair) == pytest.approx(case["bleu"], abs=1e-6)


def test_bleu_of_the_same_words_is_one_and_not_a_last_bit_more():
    assert matching.bleu("a  b", "a b") == 1


def test_strict_match_counts_white_space_at_the_ends():
    assert matching.strict_match("x = 1\n", "x = 1\n") is True
    assert matching.strict_match("x = 1", "x = 1\n") is False


@given(texts, texts)
def test_edit_similarity_equals_the_plain_dynamic_programme(prediction, target):
    assert matching.edit_similarity(prediction, target) == pytest.approx(plain_edit_similarity(prediction, target), abs=1e-15)


@given(texts, texts)
def test_every_measure_is_in_the_unit_interval_and_only_alike_texts_reach_one_edit_similarity(prediction, target):
    similarity = matching.edit_similarity(prediction, target)
    assert 0 <= similarity <= 1
    assert (similarity == 1) == matching.exact_match(prediction, target)
    assert 0 <= matching.bleu(prediction, target) <= 1
    assert matching.edit_similarity(target, prediction) == similarity


@given(texts)
def test_text_is_wholly_like_itself(text):
    assert matching.exact_match(text, text)
    assert matching.edit_similarity(text, text) == 1
    assert matching.bleu(text, text) == 1


@given(st.lists(st.tuples(texts, texts), max_size=6))
def test_bulk_forms_equal_the_single_ones(pairs):
    predictions, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    for bulk, single in [
        (matching.exact_matches, matching.exact_match),
        (matching.edit_similarities, matching.edit_similarity),
        (matching.bleus, matching.bleu),
    ]:
        together = bulk(predictions, targets)
        assert together.dtype == np.float64
        assert together.tolist() == [float(single(*pair)) for pair in pairs]


@pytest.mark.parametrize("bulk", [matching.exact_matches, matching.edit_similarities, matching.bleus])
def test_bulk_forms_refuse_unequal_numbers(bulk):
    with pytest.raises(ValueError):
        bulk(["a", "b"], ["a"])


def test_matching_does_not_import_sacrebleu_before_bleu_is_asked_for():
    program = (
        "import sys; from gapo_cli.edits import matching; matching.edit_similarity('a', 'b'); print('sacrebleu' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
