"""A genetic search in words and tables: the winner on eval beside its rivals, the front, and all individuals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gapo_cli.evaluation.paired import Comparison
from gapo_cli.evaluation.predictions import MODES, Mode
from gapo_cli.reports.paired_words import probability_words
from gapo_cli.reports.tables import NOTHING, Table
from gapo_cli.runs.family import MEASURED, Individual
from gapo_cli.search.findings import Findings, Held
from gapo_cli.statistics.intervals import Measure

METHOD = (
    "Fitness is measured on the dev split, and the best of many there is partly luck; what counts is the measurement on eval, which no "
    "run of the search has seen. Intervals are at 95 %, over tasks; one seed each, so they say nothing about other seeds."
)
POINTS = 100
LARGE = 1000


def outcome_lines(found: Findings) -> list[str]:
    """What came of the search, in sentences."""
    family, definition = found.family, found.definition
    failed = sum(one.number not in found.fitness for one in family.individuals)
    lines = [
        f"{len(family.individuals)} individuals in {family.newest + 1} generations, each trained by {definition.work}={definition.each}"
        + (f"; {failed} without a fitness" if failed else "")
    ]
    if found.winner is not None:
        winner = next(one for one in family.individuals if one.number == found.winner)
        lines.append(f"The winner is {winner.number}: {winner.label} ({on_dev(found, winner)} on dev)")
    for one in found.held:
        compared = one.against.get("greedy") or one.against.get("sampled")
        if compared is not None:
            lines.append(f"The winner against {short(one)}, on eval: {difference_words(compared)}")
    return lines


def difference_words(one: Comparison) -> str:
    found, p = one.difference, one.p_value
    text = f"{POINTS * (found.value or 0):+.2f} points of exact match"
    if found.low is not None and found.high is not None:
        text += f" [{POINTS * found.low:+.2f}, {POINTS * found.high:+.2f}]"
        text += "; not told apart" if found.low <= 0 <= found.high else ""
    return text + ("" if p is None else f" (exact test, {probability_words(p)})")


def evolve_tables(found: Findings) -> list[Table]:
    front = [one for one in found.family.individuals if one.number in found.front]
    tables = [held_table(found)] if found.held else []
    if len(found.definition.objectives) > 1:
        tables.append(individuals_table(found, front, "The front: nothing is better in one objective and no worse in all"))
    beside = [one for one in found.family.companions if one.kind != MEASURED]
    rows = tuple((f"{one.number}: {one.label}", *objectives_of(found, one.number)) for one in beside)
    tables.append(individuals_table(found, found.family.individuals, "Individuals"))
    if rows:
        tables.append(
            Table("Run beside the search", ("job", *found.definition.objectives, "seconds of training"), rows, "On dev.")
        )
    return tables


def held_table(found: Findings) -> Table:
    modes = [mode for mode in MODES if any(mode in one.exact_match for one in found.held)]
    rows = tuple(
        (
            short(one),
            *(shares(one.exact_match.get(mode)) for mode in modes),
            *(difference(one, mode) for mode in modes),
            f"{one.work:,}",
            f"{one.seconds:,.0f}",
        )
        for one in found.held
    )
    columns = (
        "model", *(f"{mode} exact match, %" for mode in modes), *(f"winner minus it, points, {mode}" for mode in modes),
        f"{found.definition.work} in all", "seconds of training",
    )  # fmt: skip
    return Table("On eval, after the same work", columns, rows, METHOD)


def individuals_table(found: Findings, individuals: Sequence[Individual], title: str) -> Table:
    rows = tuple(
        (
            f"{one.number}: {one.label}",
            str(one.generation),
            " and ".join(map(str, one.parents)) or one.origin,
            *objectives_of(found, one.number),
        )
        for one in sorted(individuals, key=lambda one: [-value for value in found.fitness.get(one.number, (float("-inf"),))])
    )
    return Table(
        title, ("individual", "generation", "parents", *found.definition.objectives, "seconds of training"), rows, "On dev."
    )


def objectives_of(found: Findings, number: int) -> tuple[str, ...]:
    values = [number_text(value) for value in found.values[number].values()]
    return (*values, f"{found.records[number].seconds:.0f}")


def on_dev(found: Findings, one: Individual) -> str:
    return ", ".join(f"{name} {number_text(value)}" for name, value in found.values[one.number].items())


def number_text(value: float) -> str:
    """A share with four digits, a large count without any behind the point."""
    if math.isnan(value):
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.4g}"


def short(one: Held) -> str:
    return one.name.removesuffix(", measured on eval")


def shares(measure: Measure | None) -> str:
    if measure is None or measure.value is None:
        return NOTHING
    text = f"{POINTS * measure.value:.2f}"
    return (
        text
        if measure.low is None or measure.high is None
        else f"{text} [{POINTS * measure.low:.2f}, {POINTS * measure.high:.2f}]"
    )


def difference(one: Held, mode: Mode) -> str:
    compared = one.against.get(mode)
    if compared is None:
        return NOTHING
    found = compared.difference
    text = f"{POINTS * (found.value or 0):+.2f}"
    return (
        text if found.low is None or found.high is None else f"{text} [{POINTS * found.low:+.2f}, {POINTS * found.high:+.2f}]"
    )
