"""The family tree of a search as geometry for inline SVG: a column a generation, a line to each parent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gapo_cli.reports.evolve_tables import number_text
from gapo_cli.search.findings import Findings

COLUMN, ROW, MARGIN = 150, 30, 26
FAILED, ALONE, PARENT, FRONT, WINNER = "failed", "alone", "parent", "front", "winner"
"""What a node can be: without a fitness, without children, with children, on the front, the winner."""
MEANINGS = {
    WINNER: "the winner", FRONT: "on the front", PARENT: "has children", ALONE: "has none", FAILED: "failed or not measured",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    x: float
    y: float
    number: int
    kind: str
    text: str


@dataclass(frozen=True)
class Edge:
    path: str
    kind: str


@dataclass(frozen=True)
class Tree:
    width: int
    height: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    columns: tuple[tuple[float, str], ...]


def family_tree(found: Findings) -> Tree | None:
    """None where there are no individuals yet. In a column the best stand on top, by the first objective."""
    if not found.family.individuals:
        return None
    parents = {parent for one in found.family.individuals for parent in one.parents}
    ancestors = ancestors_of(found, found.winner) if found.winner is not None else set()
    places: dict[int, tuple[float, float]] = {}
    nodes, columns = [], []
    tallest = 0
    for generation in range(found.family.newest + 1):
        x = MARGIN + generation * COLUMN
        columns.append((x, f"generation {generation}"))
        members = sorted(found.family.generation(generation), key=lambda one: order(found, one.number))
        tallest = max(tallest, len(members))
        for row, one in enumerate(members):
            places[one.number] = (x, MARGIN + ROW * (row + 1))
            kind = kind_of(found, one.number, parents)
            nodes.append(Node(*places[one.number], one.number, kind, text_of(found, one.number, one.label, one.parents)))
    edges = []
    for one in found.family.individuals:
        for parent in one.parents:
            (x0, y0), (x1, y1) = places[parent], places[one.number]
            middle = (x0 + x1) / 2
            own = one.number in ancestors and parent in ancestors
            edges.append(
                Edge(f"M{x0:.0f},{y0:.0f}C{middle:.0f},{y0:.0f} {middle:.0f},{y1:.0f} {x1:.0f},{y1:.0f}", "own" if own else "")
            )
    # the winner's own line is drawn over the others
    edges.sort(key=lambda edge: edge.kind)
    width = 2 * MARGIN + COLUMN * found.family.newest + 60
    return Tree(width, MARGIN + ROW * (tallest + 1), tuple(nodes), tuple(edges), tuple(columns))


def order(found: Findings, number: int) -> tuple[float, int]:
    fitness = found.fitness.get(number)
    return (-fitness[0] if fitness else math.inf, number)


def kind_of(found: Findings, number: int, parents: set[int]) -> str:
    if number == found.winner:
        return WINNER
    if number not in found.fitness:
        return FAILED
    if number in found.front:
        return FRONT
    return PARENT if number in parents else ALONE


def text_of(found: Findings, number: int, label: str, parents: tuple[int, ...]) -> str:
    """What shows under the pointer."""
    values = ", ".join(f"{name} {number_text(value)}" for name, value in found.values[number].items() if not math.isnan(value))
    error = found.records[number].error
    of = f", of {' and '.join(map(str, parents))}" if parents else ""
    return f"{number}{of}: {label}; {values or error or 'not measured'}"


def ancestors_of(found: Findings, number: int) -> set[int]:
    """An individual with all that it descends from."""
    parents = {one.number: one.parents for one in found.family.individuals}
    reached, waiting = {number}, [number]
    while waiting:
        for parent in parents[waiting.pop()]:
            if parent not in reached:
                reached.add(parent)
                waiting.append(parent)
    return reached
