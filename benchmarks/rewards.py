"""The reward of a batch of completions: rapidfuzz in bulk against the dynamic programme in pure Python.

Answers of 36 to 833 characters, the range of the paper's data (arXiv:2510.21830), cut from the source of the Python standard
library; predictions are the answer itself, the answer with a few edits, or another place of the same source. All rivals must
give the same numbers before any is timed.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import random
import statistics
import textwrap

import numpy as np
from measure import Rival, interleaved, machine, row
from tables import report

from gapo_cli.edits.matching import edit_similarities, edit_similarity
from gapo_cli.records import EditTask, Source
from gapo_cli.rewards.edem import ExactMatchAndSimilarity

SHORTEST, LONGEST = 36, 833
PAIRS = 32
REPEATS = 7


def whole_table(prediction: str, target: str) -> float:
    """The textbook's (n + 1) x (m + 1) table, as in the reward of the paper's code."""
    left, right = prediction.strip(), target.strip()
    if not left and not right:
        return 1.0
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) + 1):
        table[i][0] = i
    for j in range(len(right) + 1):
        table[0][j] = j
    for i in range(1, len(left) + 1):
        for j in range(1, len(right) + 1):
            substitution = table[i - 1][j - 1] + (left[i - 1] != right[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, substitution)
    return 1 - table[-1][-1] / max(len(left), len(right))


def one_row(prediction: str, target: str) -> float:
    """The same programme with one row kept and no calls in the inner loop: about as fast as plain Python gets."""
    left, right = prediction.strip(), target.strip()
    if not left and not right:
        return 1.0
    row_above = list(range(len(right) + 1))
    for i, character in enumerate(left, start=1):
        current = [i]
        last, diagonal = i, i - 1
        for other, above in zip(right, row_above[1:], strict=True):
            best = diagonal if character == other else diagonal + 1
            if above < best:
                best = above + 1
            if last < best:
                best = last + 1
            current.append(best)
            last, diagonal = best, above
        row_above = current
    return 1 - row_above[-1] / max(len(left), len(right))


def some_pairs(seed: int) -> tuple[list[str], list[str]]:
    """PAIRS predictions and targets, their lengths spread evenly over the range."""
    rng = random.Random(seed)
    source = "".join(inspect.getsource(module) for module in (argparse, ast, textwrap, statistics))
    predictions, targets = [], []
    for index in range(PAIRS):
        length = SHORTEST + (LONGEST - SHORTEST) * index // (PAIRS - 1)
        start = rng.randrange(len(source) - length)
        target = source[start : start + length]
        targets.append(target)
        predictions.append(rng.choice([same, edited, elsewhere])(target, source, rng))
    return predictions, targets


def same(target: str, source: str, rng: random.Random) -> str:
    return target


def edited(target: str, source: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(target))
        target = target[:place] + rng.choice(["", "x", "value", "self."]) + target[place + rng.randint(0, 8) :]
    return target


def elsewhere(target: str, source: str, rng: random.Random) -> str:
    start = rng.randrange(len(source) - len(target))
    return source[start : start + len(target)]


def edem_by(similarity, predictions: list[str], targets: list[str]) -> list[float]:
    return [
        (similarity(prediction, target) + (prediction.strip() == target.strip())) / 2
        for prediction, target in zip(predictions, targets, strict=True)
    ]


def tasks_with(targets: list[str]) -> list[EditTask]:
    source = Source("library", "train")
    return [EditTask(str(index), source, "python", "", "", (0, 0), target) for index, target in enumerate(targets)]


def main() -> None:
    for seed in range(3):
        predictions, targets = some_pairs(seed)
        ours = edit_similarities(predictions, targets)
        for rival in (edit_similarity, whole_table, one_row):
            np.testing.assert_allclose(
                ours, [rival(*pair) for pair in zip(predictions, targets, strict=True)], rtol=0, atol=1e-15
            )
        scores = ExactMatchAndSimilarity()(predictions, tasks_with(targets))["score"]
        np.testing.assert_allclose(scores, edem_by(whole_table, predictions, targets), rtol=0, atol=1e-15)
    predictions, targets = some_pairs(seed=0)
    edem, tasks = ExactMatchAndSimilarity(), tasks_with(targets)
    measured = interleaved(
        [
            Rival("ours, edit similarity", lambda: edit_similarities(predictions, targets)),
            Rival("ours, edem", lambda: edem(predictions, tasks)),
            Rival("whole table, pure Python", lambda: [whole_table(*pair) for pair in zip(predictions, targets, strict=True)]),
            Rival("one row, pure Python", lambda: [one_row(*pair) for pair in zip(predictions, targets, strict=True)]),
            Rival("whole table, pure Python", lambda: edem_by(whole_table, predictions, targets)),
            Rival("one row, pure Python", lambda: edem_by(one_row, predictions, targets)),
        ],
        REPEATS,
    )
    similarity, reward = measured[:2]
    setting = f"{PAIRS} pairs of {SHORTEST} to {LONGEST} characters"
    report(
        "rewards",
        "Rewards: rapidfuzz against a pure-Python dynamic programme",
        "All agree to 1e-15 on three sets of pairs first.",
        machine("rapidfuzz", "numpy"),
        [row(f"edit similarity, {setting}", similarity, rival) for rival in measured[2:4]]
        + [row(f"reward edem, {setting}", reward, rival) for rival in measured[4:6]],
    )


if __name__ == "__main__":
    main()
