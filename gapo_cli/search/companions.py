"""What is run beside a search, for a fair reading of its winner: the same work in one long run, and in as many independent runs as
there were individuals, with the settings that the search began from; then evaluations of all of them on eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gapo_cli.runs.family import INDEPENDENT, LONG, MEASURED, Companion, Family
from gapo_cli.runs.layout import BEST, CHECKPOINTS, FINAL, steps_in
from gapo_cli.runs.search_definition import SearchDefinition
from gapo_cli.search.breeding import work_of
from gapo_cli.search.genomes import overrides_of
from gapo_cli.search.selection import Fitness

WINNER, START = "the winner", "the model that all start from"
RL_STEPS = "trainer.steps"
HELD_OUT = ("verb=eval", "evaluation.split=eval")
"""The overrides of a measurement: the only jobs of a search that see eval."""


def baselines(definition: SearchDefinition, family: Family) -> Family:
    """The long run is evaluated on dev as often as the search had generations, so that its best checkpoint can be taken."""
    count, number = len(family.individuals), family.next_number
    often = (f"evaluation.every_steps={definition.each * definition.population}",) if definition.work == RL_STEPS else ()
    whole = (*definition.trial, *often, work_of(definition, definition.each * count), f"seed={definition.seed}")
    apart = tuple(
        Companion(
            number + 1 + at,
            INDEPENDENT,
            f"independent run {at + 1}",
            (*definition.trial, work_of(definition, definition.each), f"seed={definition.seed + at}"),
        )
        for at in range(count)
    )
    return family.joined((Companion(number, LONG, "one long run", whole), *apart))


def measurements(definition: SearchDefinition, family: Family, fitness: Fitness, models: Mapping[int, str]) -> Family:
    """Evaluations on eval: of the winner, of the long run, of the independent run that is best on dev, and of the model that all
    start from. `fitness`: of all jobs; `models`: job → the override that names its model, for those that have one."""
    chosen = [(WINNER, best({one.number: fitness[one.number] for one in family.individuals if one.number in fitness}))]
    chosen += [(one.label, one.number) for one in family.of_kind(LONG)]
    apart = {one.number: fitness[one.number] for one in family.of_kind(INDEPENDENT) if one.number in fitness}
    chosen += [(f"the best of {len(family.of_kind(INDEPENDENT))} independent runs", best(apart))] if apart else []
    genes = {one.number: overrides_of(definition.genes, one.genes) for one in family.individuals}
    named: list[tuple[str, int | None]] = [(START, None), *((label, of) for label, of in chosen if of in models)]
    return family.joined(tuple(
        Companion(
            family.next_number + at,
            MEASURED,
            f"{label}, measured on eval",
            (*genes.get(of, ()), *([models[of]] if of is not None else []), *definition.final, *HELD_OUT, f"seed={definition.seed}"),
            of,
        )
        for at, (label, of) in enumerate(named)
    ))  # fmt: skip


def best(fitness: Fitness) -> int:
    """The one with the most of the first objective, then of the second, and so on; on a tie, the first."""
    return max(fitness, key=lambda number: tuple(fitness[number]))


def last_model(run: Path) -> Path | None:
    """The model that a run ended with; None where it has none."""
    folder = run / CHECKPOINTS
    if (folder / FINAL).is_dir():
        return folder / FINAL
    steps: Sequence[Path] = list(steps_in(folder).values())
    return steps[-1] if steps else None


def best_model(run: Path) -> Path | None:
    """The model of a run that was best on dev, else the last one."""
    found = run / CHECKPOINTS / BEST
    return found if found.is_dir() else last_model(run)
