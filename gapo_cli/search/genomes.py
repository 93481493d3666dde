"""Genomes: a value for every gene of a search, drawn, crossed and mutated, and the overrides that they stand for.

A gene that says nothing in an individual (its `when` does not hold) keeps its value, which children can inherit. Numbers mutate by
a normal step of MUTATION_STEP of their range, choices to another one of theirs; crossover takes each gene from either parent.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from gapo_cli.runs.family import Value
from gapo_cli.runs.search_definition import Gene

Genome = Mapping[str, Value]
MUTATION_STEP = 0.2
"""Standard deviation of a mutation, as a share of the range."""
DIGITS = 3
"""Significant digits of a drawn number: no setting needs more, and labels stay short."""


def draw(genes: Sequence[Gene], generator: random.Random) -> Genome:
    """A random genome: choices with equal chances, numbers even over their range."""
    return {gene.name: draw_value(gene, generator) for gene in genes}


def cross(genes: Sequence[Gene], first: Genome, second: Genome, generator: random.Random) -> Genome:
    """Each gene from the one or the other, with equal chances."""
    return {gene.name: (first if generator.random() < 0.5 else second)[gene.name] for gene in genes}


def mutate(genes: Sequence[Gene], genome: Genome, chance: float, generator: random.Random) -> Genome:
    """Each gene changes with `chance`."""
    return {
        gene.name: other_value(gene, genome[gene.name], generator) if generator.random() < chance else genome[gene.name]
        for gene in genes
    }


def draw_value(gene: Gene, generator: random.Random) -> Value:
    return generator.choice(list(gene.choices)) if gene.choices else at(gene, generator.random())


def other_value(gene: Gene, value: Value, generator: random.Random) -> Value:
    """Another choice, or a number nearby; a step beyond an end of the range is reflected there."""
    if gene.choices:
        return generator.choice([label for label in gene.choices if label != value])
    position = place(gene, float(value)) + generator.gauss(0, MUTATION_STEP)
    return at(gene, 1 - abs(1 - abs(position) % 2))


def at(gene: Gene, position: float) -> float | int:
    """The number at `position`, from 0 to 1, of the range."""
    low, high = (math.log(gene.low), math.log(gene.high)) if gene.log else (gene.low, gene.high)
    number = low + position * (high - low)
    number = math.exp(number) if gene.log else number
    if gene.whole:
        return min(max(round(number), int(gene.low)), int(gene.high))
    return min(max(float(f"{number:.{DIGITS}g}"), gene.low), gene.high)


def place(gene: Gene, number: float) -> float:
    """The inverse of `at`, but for rounding."""
    low, high, value = (math.log(one) if gene.log else one for one in (gene.low, gene.high, number))
    return (value - low) / (high - low)


def speaks(gene: Gene, genome: Genome) -> bool:
    """Whether its value is one of the settings of an individual with this genome."""
    return all(genome[other] in labels for other, labels in gene.when.items())


def overrides_of(genes: Sequence[Gene], genome: Genome) -> tuple[str, ...]:
    found: list[str] = []
    for gene in genes:
        if speaks(gene, genome):
            value = genome[gene.name]
            found += gene.choices[str(value)] if gene.choices else [f"{gene.key}={value}"]
    return tuple(found)


def label_of(genes: Sequence[Gene], genome: Genome) -> str:
    """As `tau=0.3 estimator=gapo`: genes by the last part of their names."""
    return " ".join(f"{gene.name.rsplit('.', 1)[-1]}={genome[gene.name]}" for gene in genes if speaks(gene, genome))


def probes(genes: Sequence[Gene]) -> list[tuple[str, ...]]:
    """Overrides of a few genomes in which together every choice, and both ends of every range, say something at least once."""
    left = {gene.name: list(gene.choices) or [at(gene, 0), at(gene, 1)] for gene in genes}
    defaults = {name: values[0] for name, values in left.items()}
    found = []
    while any(left.values()):
        genome: dict[str, Value] = {}
        # those that need others to speak choose first
        for gene in sorted(genes, key=lambda gene: not gene.when):
            asks = {other: labels[0] for other, labels in gene.when.items() if other not in genome}
            may = gene.name not in genome and all((genome | asks)[other] in labels for other, labels in gene.when.items())
            if left[gene.name] and may:
                genome |= asks | {gene.name: left[gene.name][0]}
        genome = defaults | genome
        for gene in genes:
            if speaks(gene, genome):
                left[gene.name] = [value for value in left[gene.name] if value != genome[gene.name]]
        found.append(overrides_of(genes, genome))
    return found
