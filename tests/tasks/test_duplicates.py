"""Tasks on both sides of a split."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.records import EditTask, Source
from gapo_cli.tasks.duplicates import NEAR, jaccard, overlaps, shingles


def task(name, region, target):
    return EditTask(name, Source("made", "train"), "python", "a.py", region, (0, len(region)), target)


def between(train, eval):
    (found,) = overlaps({"train": train, "eval": eval})
    return found


def test_the_same_edit_is_an_exact_overlap_whatever_blanks_surround_it():
    found = between([task("t", "a = 1\n", "a = 2\n")], [task("e", "  a = 1\n", "a = 2"), task("f", "a = 1\n", "a = 3\n")])
    assert (found.exact, found.examples) == (1, (("t", "e"),))


def test_shingles_are_runs_of_three_tokens_by_side():
    # region "a = 1": one run; target "a.b = 1": a . b = 1 has the runs a.b, .b=, b=1
    assert shingles(task("t", "a = 1\n", "a.b = 1\n")) == {
        ("region", "a", "=", "1"), ("target", "a", ".", "b"), ("target", ".", "b", "="), ("target", "b", "=", "1"),
    }  # fmt: skip
    assert shingles(task("t", "", "pass\n")) == {("region",), ("target", "pass")}


def test_a_long_edit_with_one_word_changed_is_a_near_overlap():
    words = " ".join(f"w{number}" for number in range(40))
    # 38 runs a side, 76 in all; the last word of the target is in one run: 75 shared, 77 together, 0.97
    near = task("e", words, words.replace("w39", "other"))
    far = task("f", " ".join(f"v{number}" for number in range(40)), words)
    found = between([task("t", words, words)], [near, far])
    # far shares the 38 runs of its target of 114 together: 0.33
    assert (found.exact, found.near, found.examples) == (0, 1, (("t", "e"),))


def test_every_pair_of_splits_is_compared():
    one = [task("a", "x\n", "y\n")]
    found = overlaps({"train": one, "dev": one, "eval": []})
    assert [(pair.first, pair.second, pair.exact) for pair in found] == [("train", "dev", 1), ("train", "eval", 0), ("dev", "eval", 0)]


@given(st.integers(0, 2**32 - 1))
def test_prefix_filtering_finds_what_comparing_all_pairs_finds(seed):
    draw = random.Random(seed)

    def some(name):
        text = [draw.choice("abc") for _ in range(draw.randint(0, 12))]
        changed = [draw.choice("abc") if draw.random() < 0.1 else token for token in text]
        return task(name, " ".join(text), " ".join(changed))

    first, second = ([some(f"{side}{number}") for number in range(8)] for side in "tu")
    found = between(first, second)
    exact = [b for b in second if any((a.region, a.target) == (b.region, b.target) for a in first)]
    near = [b for b in second if b not in exact and any(jaccard(shingles(a), shingles(b)) >= NEAR for a in first)]
    assert (found.exact, found.near) == (len(exact), len(near))
