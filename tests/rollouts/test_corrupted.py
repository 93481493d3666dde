"""Rewards that are made to lie in training."""

from dataclasses import replace

import numpy as np
from parts import LengthReward, PlainTemplate, ScriptedEngine, edit_task

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.corruption import Corruption
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.rollouts.collect import Collector
from gapo_cli.rollouts.corrupted import CORRUPTED, corrupted
from gapo_cli.rollouts.data_order import DataOrder
from gapo_cli.rollouts.encoding import EncodedTask
from gapo_cli.rollouts.metrics import GroupNumbers, generated_metrics
from gapo_cli.rollouts.sampling import Sampled
from gapo_cli.rollouts.scoring import score

TEMPLATE = PlainTemplate()


def scored(answers=("a", "bb", "ccc", "dddd")):
    task = edit_task(0)
    completions = ScriptedEngine([answers]).generate([[2]], SamplingConfig(group_size=len(answers), max_new_tokens=12), [0])[0]
    parsed = tuple(replace(one, region=one.text) for one in completions)
    return score([Sampled(task, TEMPLATE.render(task), (2,), parsed)], LengthReward())[0]


def test_flipped_scores_are_one_less_the_score_and_components_stay_clean():
    group = scored()
    found = corrupted(group, Corruption("flip", 1.0), seed=3)
    # answers of 1 to 4 characters earn tenths
    assert np.allclose(found.scores, [0.9, 0.8, 0.7, 0.6]) and np.array_equal(found.rewards, found.scores)
    assert np.allclose(found.components["score"], [0.1, 0.2, 0.3, 0.4])
    assert found.components[CORRUPTED].tolist() == [1, 1, 1, 1]


def test_the_same_seed_corrupts_the_same_completions_whatever_they_earn():
    marks = [
        corrupted(group, Corruption("flip", 0.5), seed)
        for group, seed in ((scored(), 1), (scored(("dd", "c", "b", "aaa")), 1), (scored(), 2), (scored(), 5))
    ]
    first, other_answers, *other_seeds = (one.components[CORRUPTED].tolist() for one in marks)
    assert first == other_answers
    assert any(one != first for one in other_seeds)


def test_the_share_of_corrupted_rewards_is_the_probability_and_is_logged():
    groups = [corrupted(scored(), Corruption("flip", 0.2), seed) for seed in range(500)]
    share = generated_metrics(map(GroupNumbers.of, groups))[f"reward/{CORRUPTED}/mean"]
    # 2,000 draws: a standard error of 0.009
    assert abs(share - 0.2) < 0.04


def test_training_sees_them_and_the_same_collector_without_does_not():
    def collect(corruption):
        tasks = [EncodedTask(edit_task(number), TEMPLATE.render(edit_task(number)), (2, 3)) for number in range(4)]
        collector = Collector(
            ScriptedEngine([("a", "bb")]), TEMPLATE, LengthReward(), GRPO(), AlgorithmConfig(name="grpo"),
            SamplingConfig(group_size=2, max_new_tokens=12), tasks, DataOrder(4, 0), 2, 0, corruption=corruption,
        )  # fmt: skip
        return collector.collect(1).groups

    clean, lying = collect(None), collect(Corruption("one", 1.0))
    assert all(np.allclose(group.rewards, [0.1, 0.2]) and CORRUPTED not in group.components for group in clean)
    assert all(group.rewards.tolist() == [1.0, 1.0] for group in lying)
