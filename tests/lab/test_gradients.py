"""Gradients of groups against those of their pools, by hand and against plain loops."""

import itertools

import numpy as np
import pytest
from lab_parts import pool_rewards, write_rewards

from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.lab.gradients import Products, compare_gradients, measures_of
from gapo_cli.lab.replay import Variant, draw, make_pool
from gapo_cli.lab.saved_rewards import read_saved

VARIANTS = (Variant("grpo", "grpo", GRPO()), Variant("gapo tau=0.5", "gapo", GAPO(0.5), (("tau", 0.5),)))


def pool_and_sketches(tmp_path, prompts=5, completions=12, size=40):
    pool = make_pool(read_saved(write_rewards(tmp_path / "rollouts.parquet", pool_rewards(prompts, completions))), 8)
    generator = np.random.default_rng(1)
    kept = len(pool.truth)
    return pool, [generator.normal(size=(completions, size)).astype(np.float32) for _ in range(kept)]


def test_the_measures_of_two_trials_by_hand():
    # one prompt, true gradient (1, 0); trials (3, 4) and (1, 0): their mean is (2, 2)
    products = Products(
        with_truth=np.array([[[3.0]], [[1.0]]]),
        squares=np.array([[[25.0]], [[1.0]]]),
        of_means=np.array([[8.0]]),
        true=np.array([[1.0]]),
        zero=np.array([0.5]),
    )
    agreement, update, noise, zero, per_computed = measures_of(products, np.ones(1))
    assert agreement == pytest.approx(4 / np.sqrt(26 * 2))
    assert update == pytest.approx((3 / 5 + 1) / 2)
    # unbiased variance: (2 - 1) * ... = (25 + 1) / 2 - 8 = 5, times 2 / (2 - 1); signal: 8 - 10 / 2
    assert noise == pytest.approx(10 / 3)
    assert (zero, per_computed) == (0.5, pytest.approx(0.8**2 / 0.5))


def test_cosines_are_those_of_a_loop_over_trials_and_prompts(tmp_path):
    pool, sketches = pool_and_sketches(tmp_path)
    found = compare_gradients(pool, sketches, VARIANTS, [4, 8], trials=6, seed=2)
    assert [(one.variant.name, one.group_size) for one in found] == [
        ("grpo", 4), ("gapo tau=0.5", 4), ("grpo", 8), ("gapo tau=0.5", 8),
    ]  # fmt: skip
    ((_, draws),) = draw(pool, 8, 6, 2)
    true = [
        np.mean([a * own for a, own in zip(truth, some, strict=True)], axis=0)
        for truth, some in zip(pool.truth, sketches, strict=True)
    ]
    for one in found:
        dots = squares = 0.0
        updates = np.zeros((6, 40))
        for prompt, trial in itertools.product(range(len(sketches)), range(6)):
            estimated = one.variant.estimator(draws.rewards[prompt, trial, : one.group_size][None]).values[0]
            gradient = (
                sum(a * sketches[prompt][place] for a, place in zip(estimated, draws.places[prompt, trial], strict=False))
                / one.group_size
            )
            dots += gradient @ true[prompt]
            squares += gradient @ gradient
            updates[trial] += gradient
        expected = dots / np.sqrt(squares * 6 * sum(one @ one for one in true))
        assert one.measures["agreement"].value == pytest.approx(expected, rel=1e-4)
        whole = np.sum(true, axis=0)
        cosines = [update @ whole / np.linalg.norm(update) / np.linalg.norm(whole) for update in updates]
        assert one.measures["update_cosine"].value == pytest.approx(np.mean(cosines), rel=1e-4)
        assert one.measures["update_cosine"].low <= one.measures["update_cosine"].value <= one.measures["update_cosine"].high


def test_the_whole_pool_is_the_truth_and_has_no_noise(tmp_path):
    pool, sketches = pool_and_sketches(tmp_path, completions=8)
    (whole,) = compare_gradients(pool, sketches, VARIANTS[:1], [8], trials=3, seed=0)
    assert whole.measures["agreement"].value == pytest.approx(1, abs=1e-4)
    assert whole.measures["update_cosine"].value == pytest.approx(1, abs=1e-4)
    assert whole.measures["noise"].value == pytest.approx(0, abs=1e-5)
    assert whole.difference.value is None


def test_one_prompt_has_no_interval(tmp_path):
    pool, sketches = pool_and_sketches(tmp_path, prompts=1)
    for one in compare_gradients(pool, sketches, VARIANTS, [4], trials=3, seed=0):
        assert one.measures["agreement"].value is not None and one.measures["agreement"].low is None
