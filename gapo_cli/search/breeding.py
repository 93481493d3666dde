"""The next generation of a search: survivors, parents, children. Everything is drawn from the search's seed and the generation's
number, so that the same fitness gives the same children, whenever and wherever they are bred."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from gapo_cli.runs.family import Family, Individual, Value
from gapo_cli.runs.search_definition import SearchDefinition
from gapo_cli.search.genomes import Genome, cross, draw, label_of, mutate, overrides_of
from gapo_cli.search.selection import Fitness, survivors, tournament

MOST_TRIES = 200
"""Draws of a child before a genome that was there already is given up on."""
Start = Callable[[int, Sequence[int]], Sequence[str]]
"""Number and parents of an individual → the overrides that say what its weights start from."""


def first_generation(definition: SearchDefinition) -> Family:
    """Random individuals, all different as far as the space has so many."""
    generator = random.Random(f"{definition.seed}/0")
    seen: set[str] = set()
    genomes = [
        fresh(lambda: (draw(definition.genes, generator), ()), definition, seen, True)[0] for _ in range(definition.population)
    ]
    return Family().born(tuple(
        individual(definition, number, 0, (), "random", genome, ()) for number, genome in enumerate(genomes)
    ))  # fmt: skip


def next_generation(definition: SearchDefinition, family: Family, fitness: Fitness, start: Start) -> Family:
    """`fitness`: of every individual that has one; those of the newest generation and of the last survivors compete. A child that
    starts from fresh weights is no genome that was there before, as far as the space has others."""
    born = family.newest + 1
    generator = random.Random(f"{definition.seed}/{born}")
    before = family.survivors[-1] if family.survivors else ()
    rivals = [*before, *(one.number for one in family.generation(family.newest))]
    ranked = survivors({number: fitness[number] for number in rivals if number in fitness}, definition.population)
    genes = {one.number: one.genes for one in family.individuals}
    seen = {label_of(definition.genes, one.genes) for one in family.individuals}
    children = []
    for number in range(family.next_number, family.next_number + definition.population):
        genome, parents = fresh(
            lambda: child(definition, genes, ranked, generator), definition, seen, definition.inherit == "none"
        )
        origin = "crossover" if len(parents) > 1 else "mutation"
        children.append(individual(definition, number, born, parents, origin, genome, start(number, parents)))
    return family.born(tuple(children), ranked)


def child(
    definition: SearchDefinition, genes: Mapping[int, Mapping[str, Value]], ranked: Sequence[int], generator: random.Random
) -> tuple[Genome, tuple[int, ...]]:
    """A genome and the parents that it comes from: two where they were crossed, then mutated; one that was only mutated."""
    first, second = tournament(ranked, generator), tournament(ranked, generator)
    if generator.random() >= definition.crossover or first == second:
        return mutate(definition.genes, genes[first], definition.mutation, generator), (first,)
    crossed = cross(definition.genes, genes[first], genes[second], generator)
    return mutate(definition.genes, crossed, definition.mutation, generator), (first, second)


def fresh(
    make: Callable[[], tuple[Genome, tuple[int, ...]]], definition: SearchDefinition, seen: set[str], needed: bool
) -> tuple[Genome, tuple[int, ...]]:
    """What `make` makes, where `needed` again until its settings are none of `seen`; they are added to these."""
    for _ in range(MOST_TRIES):
        genome, parents = make()
        label = label_of(definition.genes, genome)
        if not needed or label not in seen:
            break
    seen.add(label)
    return genome, parents


def individual(
    definition: SearchDefinition,
    number: int,
    generation: int,
    parents: tuple[int, ...],
    origin: str,
    genome: Genome,
    start: Sequence[str],
) -> Individual:
    """With the same seed for all of a generation; where weights are inherited each generation has another one, or all would see
    the same tasks again."""
    seed = definition.seed + (generation if definition.inherit != "none" else 0)
    own = (
        *definition.trial,
        *overrides_of(definition.genes, genome),
        *start,
        work_of(definition, definition.each),
        f"seed={seed}",
    )
    return Individual(number, generation, parents, origin, dict(genome), label_of(definition.genes, genome), own)


def work_of(definition: SearchDefinition, amount: int) -> str:
    """The override of a run that trains for `amount` of what the search counts."""
    return f"{definition.work}={amount}"
