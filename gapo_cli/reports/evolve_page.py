"""The page of a genetic search: what came of it, its front, its family tree, fitness by generation. Nothing is fetched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from gapo_cli.reports.charts import HEIGHT, LEFT, RIGHT, WIDTH, Chart, Point, Series, line_chart
from gapo_cli.reports.evolve_tables import METHOD, evolve_tables, outcome_lines
from gapo_cli.reports.family_tree import MEANINGS, family_tree
from gapo_cli.reports.templates import filled
from gapo_cli.search.findings import Findings

TEMPLATE = "evolve.html.j2"


def render_search(found: Findings) -> str:
    return filled(
        TEMPLATE,
        title=f"search {found.definition.name}",
        about=found.definition.about,
        outcome=outcome_lines(found),
        failed=found.failed,
        method=None if found.held else METHOD,
        tables=evolve_tables(found),
        tree=family_tree(found),
        meanings=MEANINGS,
        fronts=[chart for pair in combinations(found.definition.objectives, 2) if (chart := front_chart(found, *pair))],
        curves=[chart for name in found.definition.objectives if (chart := generations_chart(found, name))],
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT},
    )


def evolve_markdown(found: Findings) -> str:
    parts = [f"# Search {found.definition.name}\n", f"{found.definition.about}\n"]
    parts += [f"- {line}\n" for line in outcome_lines(found)]
    parts += [f"- job {one.number} ({one.setting}) failed: {one.error}\n" for one in found.failed]
    parts += [] if found.held else [f"{METHOD}\n"]  # the table of what is held has it as its note
    parts += [one.to_markdown() for one in evolve_tables(found)]
    return "\n".join(parts)


def front_chart(found: Findings, across: str, up: str) -> Chart | None:
    """Every individual as a point in two objectives; those of the front are joined."""
    everyone = [one.number for one in found.family.individuals if one.number in found.fitness]
    others = [number for number in everyone if number not in found.front]
    series = [
        Series("front", points(found, found.front, across, up), 0),
        Series("others", points(found, others, across, up), 7, joined=False),
    ]
    return line_chart(f"{up} over {across}", series, "on dev; the front is joined", over=across)


def points(found: Findings, numbers: Sequence[int], across: str, up: str) -> tuple[Point, ...]:
    found_at = [(found.values[number][across], found.values[number][up]) for number in numbers]
    return tuple(Point(x, y) for x, y in sorted(found_at))


def generations_chart(found: Findings, name: str) -> Chart | None:
    """Of one objective in each generation the best so far, and the mean of those who were born in it, with the lowest and highest."""
    sign = 1 if found.definition.objectives[name] == "max" else -1
    best, mean = [], []
    so_far = -math.inf
    for generation in range(found.family.newest + 1):
        own = [found.values[one.number][name] for one in found.family.generation(generation) if one.number in found.fitness]
        if own:
            so_far = max(so_far, *(sign * value for value in own))
            best.append(Point(generation, sign * so_far))
            mean.append(Point(generation, sum(own) / len(own), min(own), max(own)))
    series = [Series("best so far", tuple(best), 0), Series("mean", tuple(mean), 1)]
    return line_chart(f"{name} by generation", series, "on dev; band: lowest to highest of the generation", over="generation")
