"""NSGA-II's selection (Deb et al. 2002): who survives, and who becomes a parent. Fronts and crowding come from DEAP.

Of two individuals the one on the better front wins, on the same front the one with fewer others near it. Without randomness in
`survivors`; `tournament` draws from the generator that it is given.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from gapo_cli.errors import UserError

Fitness = Mapping[int, Sequence[float]]
"""Number of an individual → its objectives, of each of which more is better."""


def survivors(fitness: Fitness, count: int) -> tuple[int, ...]:
    """The `count` best of NSGA-II, by front and then by crowding distance, the most lonely of a front first."""
    tools, points = deap_points(fitness)
    kept = tools.selNSGA2(points, min(count, len(points)))
    fronts = tools.sortNondominated(kept, len(kept))
    for front in fronts:
        tools.emo.assignCrowdingDist(front)
    ordered = [point for front in fronts for point in sorted(front, key=lambda point: -point.fitness.crowding_dist)]
    return tuple(point.number for point in ordered)


def front(fitness: Fitness) -> tuple[int, ...]:
    """Those that no other one is better than in one objective and no worse in all: the Pareto front, in the order given."""
    if not fitness:
        return ()
    tools, points = deap_points(fitness)
    first = {point.number for point in tools.sortNondominated(points, len(points), first_front_only=True)[0]}
    return tuple(number for number in fitness if number in first)


def tournament(ranked: Sequence[int], generator: random.Random) -> int:
    """The better of two that are drawn, `ranked` being the survivors, best first."""
    return ranked[min(generator.randrange(len(ranked)) for _ in range(2))]


def import_deap() -> tuple[Any, Any]:
    """DEAP's modules base and tools. Raises UserError where it is not installed."""
    try:
        from deap import base, tools
    except ImportError as error:
        raise UserError("gapo evolve needs: pip install 'gapo-cli[evolve]'") from error
    return base, tools


def deap_points(fitness: Fitness) -> tuple[Any, list[Any]]:
    """DEAP's tools and the individuals as it wants them."""
    base, tools = import_deap()
    count = len(next(iter(fitness.values()), ()))

    class Quality(base.Fitness):
        weights = (1.0,) * count

    class Point:
        def __init__(self, number: int, values: Sequence[float]) -> None:
            self.number = number
            self.fitness = Quality(tuple(values))

    return tools, [Point(number, values) for number, values in fitness.items()]
