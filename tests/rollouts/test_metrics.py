"""Metrics of rollout batches, on groups whose numbers can be added up by hand."""

from dataclasses import replace

import numpy as np
import pytest
from parts import completion_of, edit_task

from gapo_cli.records import Group
from gapo_cli.rollouts import metrics
from gapo_cli.rollouts.collect import RolloutBatch
from gapo_cli.rollouts.metrics import GroupNumbers, rollout_metrics

NAN = float("nan")


def group(texts, scores, advantages, **filled):
    completions = tuple(completion_of(text) for text in texts)
    scores = np.array(scores)
    return Group(edit_task(0), (5, 6), completions, {"em": scores}, scores, scores, np.array(advantages), **filled)


def batch_metrics(groups):
    return metrics.batch_metrics(map(GroupNumbers.of, groups))


def test_names_and_numbers_of_a_batch():
    groups = [
        # lengths 2 and 4 (text and end token)
        group(["a", "abc"], [0.0, 1.0], [-1.0, 3.0], baseline=0.75, low=0.25, high=1.0),
        group(["a", "a"], [0.5, 0.5], [0.0, 0.0], baseline=0.5, low=0.5, high=0.5),
    ]
    row = batch_metrics(groups)
    assert row["critic/score/mean"] == 0.5
    assert (row["critic/score/max"], row["critic/score/min"]) == (1.0, 0.0)
    # once a token: (2 * -1 + 4 * 3) / 10
    assert row["critic/advantages/mean"] == 1.0
    assert (row["critic/advantages/max"], row["critic/advantages/min"]) == (3.0, -1.0)
    assert (row["response_length/mean"], row["response_length/max"], row["response_length/min"]) == (2.5, 4.0, 2.0)
    assert row["response_length/clip_ratio"] == 0.0
    assert row["group/negative_adv_frac"] == 0.25
    # .75 - .5 and .5 - .5
    assert row["group/q_minus_mean"] == 0.125
    assert row["group/hdi_width"] == 0.375


def test_cut_completions_are_the_clip_ratio():
    one = group(["a", "b", "c", "d"], [0.0] * 4, [0.0] * 4)
    cut = replace(one, completions=(completion_of("a", finish_reason="length"), *one.completions[1:]))
    assert batch_metrics([cut])["response_length/clip_ratio"] == 0.25


def test_missing_scores_are_left_out_of_the_means():
    row = batch_metrics([group(["a", "a", "a"], [0.25, NAN, 0.75], [0.0] * 3, baseline=0.6)])
    assert row["critic/score/mean"] == 0.5
    assert row["group/q_minus_mean"] == pytest.approx(0.1)


def test_an_estimator_without_interval_has_no_interval_width():
    assert "group/hdi_width" not in batch_metrics([group(["a", "a"], [0.0, 1.0], [-1.0, 1.0], baseline=0.5)])


def test_shapes_and_rewards_are_those_of_all_generated_groups():
    used = group(["a"] * 4, [0.0, 0.0, 0.0, 1.0], [0.0] * 4)
    flat = group(["a"] * 4, [1.0, 1.0, 1.0, NAN], [0.0] * 4)
    batch = RolloutBatch(
        step=1,
        groups=(used,),
        generated=(used, flat),
        dropped=(flat,),
        rounds=2,
        waiting=3,
        seconds={"gen": 0.5, "reward": 0.25, "adv": 0.125},
    )
    row = rollout_metrics(batch)
    # skew of (0, 0, 0, 1) is 1.15: right
    assert (row["group/right_frac"], row["group/zero_std_frac"]) == (0.5, 0.5)
    assert row["group/left_frac"] == row["group/normal_frac"] == row["group/symmetric_frac"] == 0.0
    # (1 + 3) / 7 of the scores that are there
    assert row["reward/em/mean"] == pytest.approx(4 / 7)
    assert row["reward/missing"] == 1.0
    assert (row["group/dropped"], row["group/generated"], row["group/rounds"], row["group/waiting"]) == (1.0, 2.0, 2.0, 3.0)
    assert row["timing_s/gen"] == 0.5
    # the batch alone
    assert row["critic/score/mean"] == 0.25


def test_groups_with_fewer_than_two_rewards_are_counted_and_in_no_share_of_shapes():
    unknown = [group(["a"] * 2, [1.0, NAN], [0.0] * 2), group(["a"] * 2, [NAN] * 2, [0.0] * 2)]
    flat = group(["a"] * 2, [1.0, 1.0], [0.0] * 2)
    row = metrics.generated_metrics(map(GroupNumbers.of, [*unknown, flat]))
    assert (row["group/zero_std_frac"], row["group/no_shape"], row["reward/missing"]) == (1.0, 2.0, 3.0)
    row = metrics.generated_metrics(map(GroupNumbers.of, unknown))
    assert row["group/no_shape"] == 2.0 and "group/zero_std_frac" not in row


def test_noop_answers_and_the_exact_match_that_they_earn_are_shares_of_all_answers():
    # the region is "a = b"; two answers leave it, one more is right where the target says otherwise
    texts = ("a = b", "a = b", "a = c", "x")
    completions = tuple(replace(completion_of("a"), region=text) for text in texts)
    asked_to_change = replace(group(["a"] * 4, [0.0] * 4, [0.0] * 4), completions=completions)
    as_it_stands = replace(asked_to_change, task=edit_task(1, target="a = b\n"))
    row = metrics.generated_metrics(map(GroupNumbers.of, [asked_to_change, as_it_stands]))
    assert row["reward/noop_frac"] == 4 / 8
    assert row["reward/noop_em/mean"] == 2 / 8
