"""Rollout batches: dynamic sampling, its surplus and its limit, the length penalty, missing rewards."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from parts import LengthReward, PlainTemplate, ScriptedEngine, edit_task

from gapo_cli.config.algorithm import OverlongConfig
from gapo_cli.errors import UserError
from gapo_cli.records import Advantages
from gapo_cli.rollouts.advantages import spread, with_advantages
from gapo_cli.rollouts.collect import Collector, Position
from gapo_cli.rollouts.data_order import DataOrder
from gapo_cli.rollouts.encoding import EncodedTask

EQUAL, DIFFERENT = ["aa"], ["a", "bb"]
"""Scripted answers of a group: without spread, and with scores .1 .2 .1 .2."""


def centred(rewards, lengths=None):
    """Advantages around the mean of what is there, 0 for what is missing."""
    mean = np.nanmean(rewards, axis=1)
    nothing = np.full(len(rewards), np.nan)
    return Advantages(np.nan_to_num(rewards - mean[:, None]), mean, nothing, nothing)


def collector_of(script, algorithm, sampling, tasks=9, prompts_per_step=4):
    template = PlainTemplate()
    made = [edit_task(number) for number in range(tasks)]
    encoded = [EncodedTask(task, template.render(task), (5, 6, 7 + number)) for number, task in enumerate(made)]
    return Collector(
        ScriptedEngine(script),
        template,
        LengthReward(),
        centred,
        algorithm,
        sampling,
        encoded,
        DataOrder(tasks, 0),
        prompts_per_step,
        0,
    )


def test_without_dynamic_sampling_groups_without_spread_stay(algorithm, sampling):
    batch = collector_of([EQUAL, DIFFERENT], algorithm, sampling).collect(1)
    assert [spread(one.scores) for one in batch.groups] == pytest.approx([0, 0.1, 0, 0.1])
    assert (batch.rounds, len(batch.dropped), batch.waiting) == (1, 0, 0)


def test_dynamic_sampling_goes_on_until_the_batch_is_full_and_keeps_the_surplus(algorithm, sampling):
    dynamic = replace(algorithm, dynamic_sampling=True)
    # one round of 4 prompts has 3 groups with spread: two rounds fill a batch of 4 and leave 2 over
    collector = collector_of([EQUAL, DIFFERENT, DIFFERENT, DIFFERENT], dynamic, sampling)
    batch = collector.collect(1)
    assert all(spread(one.scores) > 0 for one in batch.groups)
    assert (len(batch.groups), batch.rounds, len(batch.generated), len(batch.dropped), batch.waiting) == (4, 2, 8, 2, 2)
    # the next step begins with the 2 that waited; its one round gives 3 more, of which 1 is over
    following = collector.collect(2)
    assert [one.sampled_at for one in following.groups] == [1, 1, 2, 2]
    assert (following.rounds, following.waiting) == (1, 1)
    ids = [one.task.id for one in batch.groups + following.groups]
    assert len(set(ids)) == len(ids)


def test_surplus_that_fills_a_batch_needs_no_generation(algorithm, sampling):
    collector = collector_of([DIFFERENT], replace(algorithm, dynamic_sampling=True), sampling)
    collector.waiting = collector.collect(1).groups
    batch = collector.collect(2)
    assert (batch.rounds, batch.generated, len(batch.groups)) == (0, (), 4)
    assert len(collector.engine.calls) == 1


def test_spread_is_looked_at_before_the_length_penalty(algorithm, sampling):
    # malformed answers all score 0; they are of 2 and 7 tokens, so the penalty differs (buffer 12 of 12: -2/12 and -7/12)
    penalised = replace(algorithm, dynamic_sampling=True, overlong=OverlongConfig(buffer_tokens=12), max_generation_rounds=1)
    with pytest.raises(UserError, match="4 dropped"):
        collector_of([["?", "??????"]], penalised, sampling).collect(1)


def test_the_length_penalty_lowers_rewards_and_not_scores(algorithm, sampling):
    # 12 tokens allowed, buffer 4: "aaaaaaaaa" and the end token are 10 tokens, (10 - 8) / 4 = .5; "a" has 2: none
    penalised = replace(algorithm, overlong=OverlongConfig(buffer_tokens=4))
    batch = collector_of([["a" * 9, "a"]], penalised, sampling).collect(1)
    assert batch.groups[0].scores == pytest.approx([0.9, 0.1, 0.9, 0.1])
    assert batch.groups[0].rewards == pytest.approx([0.4, 0.1, 0.4, 0.1])


def test_a_batch_that_cannot_be_filled_ends_in_numbers(algorithm, sampling):
    dynamic = replace(algorithm, dynamic_sampling=True, max_generation_rounds=3)
    # every tenth group has spread: 12 prompts give 1 (the tenth)
    with pytest.raises(UserError) as raised:
        collector_of([EQUAL] * 9 + [DIFFERENT], dynamic, sampling).collect(1)
    sentence = str(raised.value)
    assert "algorithm.max_generation_rounds=3: 12 prompts gave only 1 of the 4 groups" in sentence
    assert "11 dropped" in sentence
    # scores: 11 groups of .2, one of mean .15
    assert f"mean score {(11 * 0.2 + 0.15) / 12:.3f}" in sentence
    assert "too hard" in sentence


def test_a_missing_reward_is_left_out_and_has_no_advantage(algorithm, sampling):
    batch = collector_of([["a", "bbb", "nan", "bb"]], algorithm, sampling).collect(1)
    group = batch.groups[0]
    assert math.isnan(group.scores[2])
    # mean of .1 .3 .2 is .2
    assert group.advantages == pytest.approx([-0.1, 0.1, 0.0, 0.0])


def test_a_group_with_one_reward_left_counts_as_without_spread():
    assert spread(np.array([np.nan, 0.5, np.nan])) == 0
    assert spread(np.array([np.nan, np.nan])) == 0
    assert spread(np.array([0.25, np.nan, 0.75])) == 0.5


def test_a_batch_whose_rewards_are_all_missing_is_refused(algorithm, sampling):
    with pytest.raises(UserError, match=r"reward=LengthReward: all 16 rewards of step 1 are missing \(NaN\)"):
        collector_of([["nan"]], algorithm, sampling).collect(1)


def test_an_estimator_that_gives_nan_is_refused(algorithm, sampling):
    def broken(rewards, lengths=None):
        return Advantages(np.full(rewards.shape, np.nan), rewards[:, 0], rewards[:, 0], rewards[:, 0])

    groups = collector_of([DIFFERENT], algorithm, sampling).collect(1).groups
    with pytest.raises(UserError, match="not finite"):
        with_advantages(groups, broken)


def test_an_estimator_of_the_wrong_shape_is_refused(algorithm, sampling):
    groups = collector_of([DIFFERENT], algorithm, sampling).collect(1).groups
    with pytest.raises(UserError, match=r"shape \(1, 2\); need \(1, 4\)"):
        with_advantages(
            groups, lambda rewards, lengths: Advantages(rewards[:, :2], rewards[:, 0], rewards[:, 0], rewards[:, 0])
        )


def test_prompts_have_seeds_of_their_own_in_every_round(algorithm, sampling):
    dynamic = replace(algorithm, dynamic_sampling=True)
    collector = collector_of([EQUAL, DIFFERENT], dynamic, sampling)
    collector.collect(1)
    collector.collect(2)
    seeds = [seed for _, _, used in collector.engine.calls for seed in used]
    assert len(seeds) == 16
    assert len(set(seeds)) == 16


def test_a_restored_position_goes_on_with_the_same_batches(algorithm, sampling):
    dynamic = replace(algorithm, dynamic_sampling=True)
    script = [EQUAL, DIFFERENT, ["nan", "a", "bb"], DIFFERENT]
    first = collector_of(script, dynamic, sampling)
    first.collect(1)
    written = json.loads(json.dumps(first.position.to_dict()))
    again = collector_of(script, dynamic, sampling)
    again.engine.said = first.engine.said
    again.restore(Position.from_dict(written))
    assert first.waiting
    for ours, theirs in zip(again.collect(2).groups, first.collect(2).groups, strict=True):
        assert ours.sampled_at == theirs.sampled_at
        assert ours.task == theirs.task
        assert ours.completions == theirs.completions
        np.testing.assert_array_equal(ours.rewards, theirs.rewards)
        np.testing.assert_array_equal(ours.advantages, theirs.advantages)
