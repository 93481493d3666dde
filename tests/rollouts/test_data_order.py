"""Shuffled epochs of tasks that can be left and entered anywhere."""

import pytest

from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.rollouts.data_order import DataOrder


def test_every_task_comes_once_an_epoch():
    order = DataOrder(tasks=10, seed=3)
    assert sorted(order.draw(10)) == list(range(10))
    assert sorted(order.draw(10)) == list(range(10))


def test_epochs_have_different_orders():
    order = DataOrder(tasks=50, seed=3)
    assert order.draw(50) != order.draw(50)


def test_a_draw_runs_over_the_end_of_an_epoch():
    # 4 tasks, 3 + 7 drawn: two whole epochs and half of the third
    order, whole = DataOrder(4, 0), DataOrder(4, 0)
    assert order.draw(3) + order.draw(7) == whole.draw(10)
    assert (order.epoch, order.position) == (2, 2)


def test_seeds_give_different_orders():
    assert DataOrder(50, 1).draw(50) != DataOrder(50, 2).draw(50)


@pytest.mark.parametrize("drawn", [0, 3, 4, 9])
def test_a_restored_order_goes_on_where_it_was_left(drawn):
    left = DataOrder(4, 7)
    left.draw(drawn)
    entered = DataOrder(4, 7)
    entered.restore(left.state)
    assert entered.draw(11) == left.draw(11)


def test_a_checkpoint_of_other_tasks_is_refused():
    with pytest.raises(CheckpointError, match="tasks=5, this run has tasks=4"):
        DataOrder(4, 0).restore(DataOrder(5, 0).state)


def test_an_empty_task_set_is_refused():
    with pytest.raises(UserError, match="no tasks"):
        DataOrder(0, 0)
