"""What a search has found so far, as its page and tables show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gapo_cli.evaluation.paired import Comparison
from gapo_cli.evaluation.predictions import Mode
from gapo_cli.runs.family import Family
from gapo_cli.runs.search_definition import SearchDefinition
from gapo_cli.search.selection import Fitness
from gapo_cli.statistics.intervals import Measure
from gapo_cli.statistics.over_seeds import JobRecord


@dataclass(frozen=True)
class Held:
    """One model measured on eval by job `number`. `of`: the job that trained it, None for the model that all start from; `against`:
    the winner compared with it, task by task, {} for the winner itself. `work`, `seconds`: of all the training that it took."""

    name: str
    number: int
    of: int | None
    exact_match: Mapping[Mode, Measure]
    against: Mapping[Mode, Comparison]
    work: int
    seconds: float


@dataclass(frozen=True)
class Findings:
    """`records` of all jobs by number, `values` the objectives of those that trained, NaN for what they lack, `fitness` those that
    have all. `front`: the individuals that none is better than, `winner` the one of them with the most of the first objective, None
    where no individual has a fitness."""

    definition: SearchDefinition
    family: Family
    records: Mapping[int, JobRecord]
    values: Mapping[int, Mapping[str, float]]
    fitness: Fitness
    front: tuple[int, ...]
    winner: int | None
    held: tuple[Held, ...] = ()

    @property
    def failed(self) -> tuple[JobRecord, ...]:
        """Jobs that ended, or never started, without a result."""
        return tuple(record for record in self.records.values() if record.error is not None)

    @property
    def seconds(self) -> float:
        """Of training, over the individuals that ran."""
        return sum(self.records[one.number].seconds for one in self.family.individuals)
