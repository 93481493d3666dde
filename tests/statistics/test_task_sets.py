"""What a task set is made of, counted by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import small_task

from gapo_cli.statistics.task_sets import MOST_BUCKETS, Distribution, Measured, bucket_edges, task_statistics


def task(name, language="go", family=None, target="b\n", events=0):
    return small_task(name, target=target, language=language, family=family, diffs=("",) * events)


def test_percentiles_are_values_that_occur():
    # of 1..10 the 5th percentile is the 1st value, the 25th the 3rd, the 50th the 5th, the 75th the 8th, the rest the 10th
    found = Distribution.of([10, 1, 9, 2, 8, 3, 7, 4, 6, 5], (0, 5, 10))
    assert found.percentiles == (1, 3, 5, 8, 10, 10)
    assert (found.count, found.mean, found.minimum, found.maximum) == (10, 5.5, 1, 10)
    assert found.counts == (4, 5, 1)  # 1-4, 5-9, 10


def test_the_last_bucket_has_what_lies_beyond_its_lower_end():
    assert Distribution.of([0, 4, 5, 999], (0, 5)).counts == (2, 2)


def test_no_values_have_no_distribution():
    with pytest.raises(ValueError, match="no values"):
        Distribution.of([], (0,))


def test_buckets_have_a_round_width_and_reach_the_99th_percentile():
    assert bucket_edges([0, 1, 2]) == (0, 1, 2)
    assert bucket_edges([15]) == tuple(range(16))  # 16 buckets of 1
    assert bucket_edges([16]) == tuple(range(0, 17, 2))
    assert bucket_edges([700]) == tuple(range(0, 701, 50))
    assert bucket_edges([10] * 99 + [10_000]) == tuple(range(11))  # one of a hundred goes into the open bucket


@given(st.lists(st.integers(0, 10**7), min_size=1))
def test_every_value_lies_in_one_of_few_buckets(values):
    edges = bucket_edges(values)
    assert 1 <= len(edges) <= MOST_BUCKETS
    assert sum(Distribution.of(values, edges).counts) == len(values)


def test_a_split_is_counted_by_language_family_and_what_changes():
    splits = {
        "train": [task("1", events=2), task("2", "rust", "call"), task("3", target="a\n")],
        "eval": [task("4", "rust")],
        "dev": [],
    }
    measured = {
        "train": [Measured(10, 2, 5, 2), Measured(20, 2, 9, 3, cut=True), Measured(30, 2, 9, 2)],
        "eval": [Measured(40, 2, 7, 2)],
        "dev": [],
    }
    found = task_statistics(splits, measured, context_length=11)
    assert list(found) == ["train", "eval", "dev", "all"]
    train = found["train"]
    assert (train.tasks, train.noop, train.cut, train.families) == (3, 1, 1, {"call": 1})
    assert train.languages == {"go": 2, "rust": 1}
    assert train.too_long == 1  # 9 + 3 tokens do not fit 11, 9 + 2 do
    assert train.lengths["history"].counts == (2, 0, 1)
    assert train.lengths["prompt characters"].mean == 20
    assert found["all"].lengths["prompt characters"].mean == 25
    assert (found["all"].tasks, found["all"].languages) == (4, {"go": 2, "rust": 2})
    assert (found["dev"].tasks, found["dev"].lengths) == (0, {})
    assert found["eval"].lengths["prompt tokens"].edges == found["train"].lengths["prompt tokens"].edges


def test_without_tokens_there_are_characters_only():
    found = task_statistics({"train": [task("1")]}, {"train": [Measured(10, 2)]}, context_length=1)["train"]
    assert list(found.lengths) == ["prompt characters", "answer characters", "history"]
    assert found.too_long is None


def test_shares_and_named_percentiles_are_written():
    splits = {"train": [task("1", "go"), task("2", "rust"), task("3", "go"), task("4", "go")], "dev": []}
    found = task_statistics(splits, {"train": [Measured(8, 2)] * 4, "dev": []}, context_length=1)
    row = json.loads(json.dumps(found["train"].to_dict()))
    assert row["languages"] == {"go": {"tasks": 3, "share": 0.75}, "rust": {"tasks": 1, "share": 0.25}}
    assert (row["noop"], row["noop_share"]) == (0, 0.0)
    assert row["lengths"]["prompt characters"]["percentiles"] == dict.fromkeys(("p5", "p25", "p50", "p75", "p95", "p99"), 8)
    assert found["dev"].to_dict()["noop_share"] is None
