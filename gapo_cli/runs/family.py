"""family.json: the individuals of a genetic search with their parents, who survived each generation, and what was run beside them.

It is written before the jobs that it names start. What stands in it is never drawn again: a search that was killed goes on from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gapo_cli.errors import DataError
from gapo_cli.runs.layout import FAMILY
from gapo_cli.runs.sweep_plan import PlannedJob
from gapo_cli.storage.files import write_json

Value = float | int | str
"""Of a gene: a number, or the label of a choice."""
LONG, INDEPENDENT, MEASURED = "long", "independent", "measured"
"""Kinds of companions: one run with all the work, runs with an individual's work each, an evaluation on eval."""


@dataclass(frozen=True)
class Individual:
    """`number`: of its job. `parents`: of theirs, none in the first generation. `origin`: random, crossover, mutation or both.
    `genes` has a value for every gene, also for those that say nothing in it; `overrides`: of its job."""

    number: int
    generation: int
    parents: tuple[int, ...]
    origin: str
    genes: Mapping[str, Value]
    label: str
    overrides: tuple[str, ...]

    @property
    def job(self) -> PlannedJob:
        return PlannedJob(self.number, self.label, "", self.overrides)


@dataclass(frozen=True)
class Companion:
    """A job that is no individual. `kind` out of LONG, INDEPENDENT and MEASURED; `of`: of a measured one the job whose model it
    measures, None for the model that all start from."""

    number: int
    kind: str
    label: str
    overrides: tuple[str, ...]
    of: int | None = None

    @property
    def job(self) -> PlannedJob:
        return PlannedJob(self.number, self.label, "", self.overrides)


@dataclass(frozen=True)
class Family:
    """`survivors`: for each generation that has children, the numbers of those that could become parents, best first."""

    individuals: tuple[Individual, ...] = ()
    survivors: tuple[tuple[int, ...], ...] = ()
    companions: tuple[Companion, ...] = ()

    @property
    def newest(self) -> int:
        """The number of the newest generation, from 0; -1 where there is none."""
        return max((one.generation for one in self.individuals), default=-1)

    @property
    def next_number(self) -> int:
        return len(self.individuals) + len(self.companions)

    @property
    def jobs(self) -> tuple[PlannedJob, ...]:
        return tuple(one.job for one in (*self.individuals, *self.companions))

    def generation(self, number: int) -> tuple[Individual, ...]:
        return tuple(one for one in self.individuals if one.generation == number)

    def of_kind(self, kind: str) -> tuple[Companion, ...]:
        return tuple(one for one in self.companions if one.kind == kind)

    def born(self, children: tuple[Individual, ...], survivors: tuple[int, ...] = ()) -> Family:
        """With another generation; `survivors`: of those before, none for the first generation."""
        kept = (*self.survivors, survivors) if survivors else self.survivors
        return replace(self, individuals=(*self.individuals, *children), survivors=kept)

    def joined(self, companions: tuple[Companion, ...]) -> Family:
        return replace(self, companions=(*self.companions, *companions))


def save_family(folder: Path, family: Family) -> None:
    write_json(folder / FAMILY, asdict(family))


def read_family(folder: Path) -> Family:
    """An empty one where there is none yet. Raises DataError for a damaged file."""
    path = folder / FAMILY
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        individuals = tuple(Individual(**as_tuples(one, "parents", "overrides")) for one in saved["individuals"])
        companions = tuple(Companion(**as_tuples(one, "overrides")) for one in saved["companions"])
        return Family(individuals, tuple(map(tuple, saved["survivors"])), companions)
    except FileNotFoundError:
        return Family()
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no family of a search ({error}); start the search again in another folder") from error


def as_tuples(values: Mapping[str, object], *names: str) -> dict[str, object]:
    return {key: tuple(value) if key in names else value for key, value in values.items()}
