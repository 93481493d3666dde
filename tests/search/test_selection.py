"""NSGA-II's selection against fronts and distances derived by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
from gapo_cli.search.selection import front, survivors, tournament

POINTS = {1: (1.0, 5.0), 2: (2.0, 4.0), 3: (3.0, 3.0), 4: (5.0, 1.0), 5: (1.0, 1.0), 6: (2.0, 2.0)}
"""More is better. 1 to 4 are the front; 6 is below 3 and 2 alone, 5 below 6."""


def test_the_front_is_those_that_nothing_is_better_than():
    assert front(POINTS) == (1, 2, 3, 4)
    assert front({}) == ()
    assert front({7: (1.0,), 8: (2.0,), 9: (2.0,)}) == (8, 9)


def test_survivors_come_front_by_front_the_ends_and_the_lonely_first():
    # crowding in the front, each side over its range of 4 and by 2 objectives: 2: (3-1)/8 + (5-3)/8 = .5; 3: (5-2)/8 + (4-1)/8 = .75
    assert survivors(POINTS, 6) == (1, 4, 3, 2, 6, 5)
    assert survivors(POINTS, 3) == (1, 4, 3)
    assert survivors(POINTS, 99) == (1, 4, 3, 2, 6, 5)


def test_with_one_objective_the_most_survive():
    assert survivors({1: (0.1,), 2: (0.3,), 3: (0.2,)}, 2) == (2, 3)


POSSIBLE = st.lists(st.tuples(*[st.integers(0, 6).map(float)] * 2), min_size=1, max_size=12)


@given(POSSIBLE, st.integers(1, 12))
def test_no_survivor_is_beaten_by_one_that_did_not_survive(points, count):
    fitness = dict(enumerate(points))
    kept = survivors(fitness, count)
    assert len(kept) == len(set(kept)) == min(count, len(points))

    def beats(one, other):
        return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))

    for out in set(fitness) - set(kept):
        assert not any(beats(fitness[out], fitness[inside]) for inside in kept)
    alone = {number for number in fitness if not any(beats(other, fitness[number]) for other in points)}
    assert set(front(fitness)) == alone


def test_a_tournament_is_won_by_the_better_ranked_of_two():
    # the best of three is drawn with chance 1 - (2/3)^2 = 5/9, the worst with 1/9
    generator = random.Random(0)
    wins = [tournament((7, 8, 9), generator) for _ in range(9000)]
    assert wins.count(7) / 9000 == pytest.approx(5 / 9, abs=0.03)
    assert wins.count(9) / 9000 == pytest.approx(1 / 9, abs=0.03)
