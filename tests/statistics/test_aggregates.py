"""Interquartile mean and probability of improvement, by hand and against scipy."""

import numpy as np
import pytest
from scipy import stats

from gapo_cli.statistics.aggregates import expanded_tail, interquartile_mean, interquartile_means, probability_of_improvement
from gapo_cli.statistics.seeds_and_tasks import crossed_variance, seeds_and_tasks


def test_the_interquartile_mean_is_scipys_trimmed_mean_where_a_quarter_is_a_whole_number():
    for count in (4, 8, 40):
        scores = np.random.default_rng(count).random(count)
        assert interquartile_means(scores) == pytest.approx(stats.trim_mean(scores, 0.25))


def test_scores_that_the_cut_goes_through_count_in_part():
    # of 5 scores 1.25 are cut off at each end: the middle one whole, its neighbours three quarters each
    assert interquartile_means(np.array([0.0, 1.0, 2.0, 4.0, 100.0])) == pytest.approx((0.75 * 1 + 2 + 0.75 * 4) / 2.5)


def test_an_outlier_moves_the_interquartile_mean_little_and_strata_are_drawn_apart():
    scores = np.array([[0.5, 0.1], [0.52, 0.12], [0.51, 0.11], [0.49, 0.09]])
    found = interquartile_mean(scores)
    # of 8 scores the middle four are .11, .12, .49, .5
    assert found.value == pytest.approx((0.11 + 0.12 + 0.49 + 0.5) / 4)
    assert found.low < found.value < found.high
    assert interquartile_mean(scores[:1]).low is None
    assert interquartile_mean(np.empty((0, 2))).value is None


def test_the_probability_of_improvement_is_mann_whitneys_u_with_ties_counted_half():
    generator = np.random.default_rng(1)
    ours, theirs = generator.integers(0, 6, 12), generator.integers(0, 5, 9)
    expected = stats.mannwhitneyu(ours, theirs).statistic / (12 * 9)
    found = probability_of_improvement(ours, theirs)
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high
    assert probability_of_improvement(np.array([1.0]), np.array([0.0])).low is None


def test_few_runs_move_the_quantile_outwards_and_many_do_not():
    assert expanded_tail(5) < expanded_tail(20) < 0.025
    assert expanded_tail(100_000) == pytest.approx(0.025, rel=1e-3)


def test_the_crossed_variance_is_that_of_the_components_it_was_drawn_from():
    generator = np.random.default_rng(2)
    seeds, tasks = 8, 50
    # the variance of a mean with components 0.04 (seeds), 0.25 (tasks), 1 (rest)
    expected = 0.04 / seeds + 0.25 / tasks + 1 / (seeds * tasks)
    drawn = []
    for _ in range(800):
        values = generator.normal(0, 0.2, (seeds, 1)) + generator.normal(0, 0.5, tasks) + generator.normal(0, 1, (seeds, tasks))
        drawn.append(crossed_variance(values)[0])
    assert np.mean(drawn) == pytest.approx(expected, rel=0.06)


def test_the_interval_over_seeds_and_tasks_is_wider_than_over_tasks_alone_where_seeds_differ():
    generator = np.random.default_rng(3)
    values = generator.normal(0, 0.5, (6, 1)) + generator.normal(0, 0.1, (6, 200))
    found = seeds_and_tasks(values)
    over_seeds = stats.t.ppf(0.975, 5) * values.mean(axis=1).std(ddof=1) / np.sqrt(6)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(over_seeds, rel=0.15)
    assert seeds_and_tasks(values[:1]).low is None
    assert seeds_and_tasks(np.zeros((3, 4))).low is None
