"""Training groups, without a pool."""

import numpy as np
import pytest
from lab_parts import write_rewards

from gapo_cli.errors import DataError
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.lab.replay import Variant
from gapo_cli.lab.saved_rewards import read_saved
from gapo_cli.lab.without_pool import compare_on_groups, shapes_by_step
from gapo_cli.reports.lab_tables import shape_table
from gapo_cli.reports.tables import NOTHING

VARIANTS = [Variant("grpo", "grpo", GRPO()), Variant("gapo", "gapo", GAPO(0.5))]
# four wrong answers that agree, four right ones: GAPO gives the wrong ones 0, GRPO pushes them down
HALF = [0.25] * 4 + [1.0] * 4
EQUAL = [0.5] * 8
MISSING = [0.0, 1.0, *[np.nan] * 6]


@pytest.fixture
def run(tmp_path):
    write_rewards(tmp_path / "run/rollouts/step-00001.parquet", np.array([HALF, EQUAL]), 1)
    write_rewards(tmp_path / "run/rollouts/step-00002.parquet", np.array([MISSING, EQUAL]), 2, dropped=np.array([False, True]))
    return tmp_path / "run"


def test_steps_are_read_in_order_with_what_was_dropped(run):
    saved = read_saved(run)
    assert saved.rewards.shape == (4, 8)
    assert (saved.steps.tolist(), saved.dropped.tolist(), saved.present.tolist()) == (
        [1, 1, 2, 2],
        [False, False, False, True],
        [8, 8, 2, 8],
    )


def test_shares_are_of_the_completions_with_a_reward_in_groups_that_were_learnt_from(run):
    grpo, gapo = compare_on_groups(read_saved(run), VARIANTS)
    # 8 + 8 + 2 completions; GRPO: the equal group is 0
    assert grpo.zero == pytest.approx(8 / 18)
    assert grpo.negative == pytest.approx((4 + 1) / 18)
    # GAPO: the 4 wrong ones of the first group are 0 too; of (0, 1) H is (0) alone: 0 is 0, 1 is positive
    assert gapo.zero == pytest.approx((4 + 8 + 1) / 18)
    assert gapo.negative == 0.0
    assert (grpo.sign_changes, gapo.sign_changes) == (0.0, pytest.approx(5 / 18))
    # Q - mean: .25 - .625, 0, 0 - .5
    assert gapo.q_minus_mean == pytest.approx((-0.375 - 0.5) / 3)
    assert grpo.q_minus_mean == pytest.approx(0)


def test_shapes_are_of_all_groups_of_a_step(run):
    first, second = shapes_by_step(read_saved(run))
    assert (first.step, first.groups, first.shares["zero"]) == (1, 2, 0.5)
    assert (second.step, second.groups, second.shares["zero"]) == (2, 2, 0.5)


def test_groups_with_fewer_than_two_rewards_are_in_no_share_of_shapes_and_are_counted(tmp_path):
    none, one = [np.nan] * 8, [0.5, *[np.nan] * 7]
    for step, groups in enumerate([[HALF, EQUAL, none, one], [none, one]]):
        write_rewards(tmp_path / f"run/rollouts/step-0000{step}.parquet", np.array(groups), step)
    saved = read_saved(tmp_path / "run")
    first, second = shapes_by_step(saved)
    assert (first.groups, first.unknown, first.shares["zero"]) == (4, 2, 0.5)
    assert (second.groups, second.unknown, second.shares) == (2, 2, {})
    table = shape_table([first, second])
    assert [row[-1] for row in table.rows] == ["50.0", NOTHING]
    assert table.note.endswith("4 of 6 groups have fewer than two rewards and are in no share.")


def test_files_that_are_no_rollouts_are_named_in_one_sentence(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(DataError, match="none: no such file or folder"):
        read_saved(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no rollouts"):
        read_saved(tmp_path / "empty")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(DataError, match="other.parquet: holds no rollouts, or those of an older gapo"):
        read_saved(other)
    cut = write_rewards(tmp_path / "cut.parquet", np.array([HALF]))
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(DataError, match="cut.parquet: is no parquet file, or was cut"):
        read_saved(cut)
    with pytest.raises(DataError, match="holds no completion"):
        read_saved(write_rewards(tmp_path / "none.parquet", np.empty((0, 4))))
