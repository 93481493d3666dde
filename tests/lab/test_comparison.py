"""Agreement with the truth, by hand and against plain loops."""

import itertools

import numpy as np
import pytest
from lab_parts import pool_rewards, write_rewards

from gapo_cli.config.corruption import Corruption
from gapo_cli.errors import DataError
from gapo_cli.estimators.dr_grpo import DrGRPO
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.lab.comparison import MEASURES, SUMS, add_up, difference, find, measures_of, parts_of, replay_all
from gapo_cli.lab.replay import Variant, draw, main_variants, make_pool
from gapo_cli.lab.saved_rewards import read_saved
from gapo_cli.statistics.reward_shapes import group_shapes


def pool_of(tmp_path, rewards, largest=8):
    return make_pool(read_saved(write_rewards(tmp_path / "rollouts.parquet", rewards)), largest)


GRPO_, GAPO_ = Variant("grpo", "grpo", GRPO()), Variant("gapo tau=0.5", "gapo", GAPO(0.5), (("tau", 0.5),))


def test_the_measures_of_four_completions_by_hand():
    estimated, truth = np.array([[[1.0, -1.0], [0.0, 2.0]]]), np.array([[[1.0, 1.0], [1.0, 1.0]]])
    found = dict(zip(MEASURES, measures_of(add_up(estimated, truth)[0]), strict=True))
    # products 1, -1, 0, 2: sum 2; sum of squares 1 + 1 + 0 + 4 = 6 and 4: cos = 2 / sqrt(24)
    assert found["agreement"] == pytest.approx(2 / np.sqrt(24))
    assert found["right_way"] == pytest.approx(4 / 24)
    assert found["per_computed"] == pytest.approx(4 / 24 / 0.75)
    assert (found["zero"], found["negative"], found["wrong_sign"], found["mean"]) == (0.25, 0.25, 0.25, 0.5)
    # deviations .5, -1.5, -.5, 1.5: fourth moment (2 * .0625 + 2 * 5.0625) / 4 = 2.5625, variance 1.25
    assert found["kurtosis"] == pytest.approx(2.5625 / 1.25**2 - 3)


def test_a_group_that_is_the_whole_pool_agrees_perfectly_where_every_pool_has_the_same_spread(tmp_path):
    rewards = np.stack([np.random.default_rng(0).permutation(np.arange(64) / 64) for _ in range(5)])
    (cell,) = replay_all(pool_of(tmp_path, rewards, 64), [GRPO_], [64], [None], trials=2, seed=0)
    (found,) = find([cell], np.ones(5, dtype=bool), "all", 0)
    assert found.measures["agreement"].value == pytest.approx(1.0)


def test_agreement_is_that_of_a_loop_over_trials_prompts_and_completions(tmp_path):
    pool = pool_of(tmp_path, pool_rewards(6), 4)
    cells = replay_all(pool, [GRPO_, GAPO_], [4], [None, Corruption("flip", 0.2)], trials=7, seed=3)
    ((places, draws),) = draw(pool, 4, 7, 3)
    for cell in cells:
        product = square = truth = 0.0
        for prompt, trial in itertools.product(range(len(places)), range(7)):
            seen = draws.rewards[prompt, trial].copy()
            if cell.corruption:
                chosen = draws.chosen[prompt, trial] < 0.2
                seen[chosen] = 1 - seen[chosen]
            estimated = cell.variant.estimator(seen[None]).values[0]
            product += float(estimated @ draws.truth[prompt, trial])
            square += float(estimated @ estimated)
            truth += float(draws.truth[prompt, trial] @ draws.truth[prompt, trial])
        totals = dict(zip(SUMS, cell.sums.sum(axis=0), strict=True))
        assert totals["product"] / np.sqrt(totals["square"] * totals["truth"]) == pytest.approx(
            product / np.sqrt(square * truth)
        )


def test_groups_are_drawn_without_replacement_from_what_is_not_missing(tmp_path):
    rewards = np.arange(4 * 16, dtype=float).reshape(4, 16) / 64
    rewards[:, 10:] = np.nan
    ((_, draws),) = draw(pool_of(tmp_path, rewards, 8), 8, 50, 0)
    assert not np.isnan(draws.rewards).any()
    assert all(len(set(group)) == 8 for group in draws.rewards.reshape(-1, 8).tolist())


def test_larger_groups_and_more_signal_agree_better_and_corruption_worse(tmp_path):
    pool = pool_of(tmp_path, pool_rewards(40), 16)
    cells = replay_all(pool, [GRPO_], [4, 16], [None, Corruption("flip", 0.2)], trials=32, seed=0)
    clean4, clean16, noisy4, noisy16 = (one.measures["agreement"] for one in find(cells, np.ones(40, dtype=bool), "all", 0))
    assert clean4.high < clean16.low
    assert noisy4.high < clean4.low and noisy16.high < clean16.low


def test_the_same_estimator_twice_differs_by_nothing_however_often_prompts_are_drawn(tmp_path):
    pool = pool_of(tmp_path, pool_rewards(20))
    one, twice = replay_all(pool, [GRPO_, Variant("again", "again", GRPO())], [8], [None], trials=8, seed=0)
    found = difference(twice, one, "agreement", 0)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_cell_is_found_among_cells_of_the_same_settings(tmp_path):
    cells = replay_all(pool_of(tmp_path, pool_rewards(4)), [GRPO_, GRPO_], [4], [None], trials=2, seed=0)
    assert [cells.index(cell) for cell in cells] == [0, 1]


def test_dividing_by_the_spread_is_what_tells_grpo_from_dr_grpo(tmp_path):
    pool = pool_of(tmp_path, pool_rewards(20))
    grpo, plain = replay_all(pool, [GRPO_, Variant("dr_grpo", "dr_grpo", DrGRPO())], [8], [None], trials=8, seed=0)
    assert difference(plain, grpo, "agreement", 0).value != 0
    assert np.array_equal(grpo.sums[:, SUMS.index("negative")], plain.sums[:, SUMS.index("negative")])


def test_parts_are_by_shape_and_by_mean_of_the_pool_and_each_covers_all_prompts(tmp_path):
    pool = pool_of(tmp_path, pool_rewards(30))
    parts = parts_of(pool)
    shapes = group_shapes(pool.saved.rewards)
    assert np.array_equal(parts["left"], shapes == "left")
    assert sum(parts[level].sum() for level in ("hard", "middle", "easy")) == parts["all"].sum() == 30


def test_prompts_without_spread_or_with_too_few_rewards_are_left_out_and_counted(tmp_path):
    rewards = pool_rewards(6)
    rewards[0] = 1.0
    rewards[1, 5:] = np.nan
    pool = pool_of(tmp_path, rewards)
    assert (len(pool.truth), pool.without_spread, pool.too_small, pool.missing) == (4, 1, 1, 0)


def test_what_cannot_be_a_pool_is_said(tmp_path):
    with pytest.raises(DataError, match=r"group_size=80: .* has 64 completions a prompt; need a group that fits in"):
        pool_of(tmp_path, pool_rewards(3), 80)
    with pytest.raises(DataError, match="every prompt's rewards are all equal"):
        pool_of(tmp_path, np.ones((3, 64)))
    with pytest.raises(DataError, match="no prompt has the 8 rewards that the largest group needs"):
        pool_of(tmp_path, np.where(np.arange(64) < 5, 0.5, np.nan) * np.ones((3, 1)))


def test_one_variant_an_estimator_is_shown_with_the_papers_tau_where_it_is_among_them():
    gapo = [Variant(f"gapo tau={tau}", "gapo", GAPO(tau), (("tau", tau),)) for tau in (0.3, 0.5, 0.9)]
    assert main_variants([gapo[0], GRPO_, gapo[1], gapo[2]]) == [gapo[1], GRPO_]
    assert main_variants([gapo[2], gapo[0]]) == [gapo[2]]
