"""Tasks that stand twice, in one split or on both sides of two."""

import random

from hypothesis import given
from hypothesis import strategies as st
from parts import small_task

from gapo_cli.tasks.sets.duplicates import NEAR, find_repeats, jaccard, shingles


def between(train, eval):
    (found,) = find_repeats({"train": train, "eval": eval}).across
    return found


def within(tasks):
    (found,) = find_repeats({"train": tasks}).within
    return found


def test_the_same_edit_is_an_exact_overlap_whatever_blanks_surround_it():
    found = between(
        [small_task("t", "a = 1\n", "a = 2\n")], [small_task("e", "  a = 1\n", "a = 2"), small_task("f", "a = 1\n", "a = 3\n")]
    )
    assert (found.exact, found.examples) == (1, (("t", "e"),))


def test_shingles_are_runs_of_three_tokens_by_side():
    # region "a = 1": one run; target "a.b = 1": a . b = 1 has the runs a.b, .b=, b=1
    assert shingles(small_task("t", "a = 1\n", "a.b = 1\n")) == {
        ("region", "a", "=", "1"), ("target", "a", ".", "b"), ("target", ".", "b", "="), ("target", "b", "=", "1"),
    }  # fmt: skip
    assert shingles(small_task("t", "", "pass\n")) == {("region",), ("target", "pass")}


def test_a_long_edit_with_one_word_changed_is_a_near_overlap():
    words = " ".join(f"w{number}" for number in range(40))
    # 38 runs a side, 76 in all; the last word of the target is in one run: 75 shared, 77 together, 0.97
    near = small_task("e", words, words.replace("w39", "other"))
    far = small_task("f", " ".join(f"v{number}" for number in range(40)), words)
    found = between([small_task("t", words, words)], [near, far])
    # far shares the 38 runs of its target of 114 together: 0.33
    assert (found.exact, found.near, found.examples) == (0, 1, (("t", "e"),))


def test_every_pair_of_splits_is_compared():
    one = [small_task("a", "x\n", "y\n")]
    found = find_repeats({"train": one, "dev": one, "eval": []}).across
    assert [(pair.first, pair.second, pair.exact) for pair in found] == [
        ("train", "dev", 1),
        ("train", "eval", 0),
        ("dev", "eval", 0),
    ]


LOOP = """\
def total(prices, rate):
    found = 0
    for price in prices:
        if price is not None:
            found += price * (1 + rate)
    return round(found, 2)
"""
TYPED = LOOP.replace("(prices, rate):", "(prices, rate) -> float:")


def test_hand_made_near_duplicates_are_found_and_other_edits_are_not():
    original = small_task("t", LOOP, TYPED)
    copies = [
        small_task("other blanks", LOOP.replace("    ", "\t").replace(" * ", "*"), TYPED.replace("    ", "  ")),
        # the last 2 -> 3 is in 2 of the 37 runs of the region and 2 of the 40 of the target: 73 shared of 81, 0.90
        small_task("another digit", LOOP.replace("2)", "3)"), TYPED.replace("2)", "3)")),
    ]
    others = [
        small_task("another edit", LOOP, LOOP.replace("found = 0", "found = start").replace("rate)", "rate, start=0)")),
        small_task(
            "other names",
            LOOP.replace("found", "sum_").replace("price", "cost"),
            TYPED.replace("found", "sum_").replace("price", "cost"),
        ),
        small_task("short", "    found = 0\n", "    found = 0.0\n"),
    ]
    found = between([original], copies + others)
    assert (found.exact, found.near, found.examples) == (0, 2, (("t", "other blanks"), ("t", "another digit")))


def test_repeats_within_a_split_are_counted_once_for_each_later_task():
    found = within(
        [
            small_task("a", LOOP, TYPED),
            small_task("b", "x\n", "y\n"),
            small_task("c", LOOP, TYPED),
            small_task("d", LOOP + "\n", TYPED.replace("2)", "3)")),
        ]
    )
    # c repeats a; d is like a (and like c, which is a again)
    assert (found.first, found.second, found.exact, found.near) == ("train", "train", 1, 1)
    assert found.examples == (("a", "c"), ("a", "d"))


@given(st.integers(0, 2**32 - 1))
def test_prefix_filtering_finds_what_comparing_all_pairs_finds(seed):
    draw = random.Random(seed)

    def some(name):
        text = [draw.choice("abc") for _ in range(draw.randint(0, 12))]
        changed = [draw.choice("abc") if draw.random() < 0.1 else token for token in text]
        return small_task(name, " ".join(text), " ".join(changed))

    first, second = ([some(f"{side}{number}") for number in range(8)] for side in "tu")
    found = between(first, second)
    exact = [b for b in second if any((a.region, a.target) == (b.region, b.target) for a in first)]
    near = [b for b in second if b not in exact and any(jaccard(shingles(a), shingles(b)) >= NEAR for a in first)]
    assert (found.exact, found.near) == (len(exact), len(near))
    before = [(number, b, second[:number]) for number, b in enumerate(second)]
    exact = [number for number, b, others in before if any((a.region, a.target) == (b.region, b.target) for a in others)]
    near = [n for n, b, others in before if n not in exact and any(jaccard(shingles(a), shingles(b)) >= NEAR for a in others)]
    found = within(second)
    assert (found.exact, found.near) == (len(exact), len(near))
