"""gapo evolve: what the runs of a search left in their folders: the front, the winner, and how it stands on eval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gapo_cli.evaluation.paired import Comparison, compare
from gapo_cli.evaluation.predictions import Mode, Prediction
from gapo_cli.interfaces import Display
from gapo_cli.reports.evolve_page import evolve_markdown, render_search
from gapo_cli.runs.earlier_answers import read_answers
from gapo_cli.runs.family import INDEPENDENT, LONG, MEASURED, Companion, read_family
from gapo_cli.runs.layout import SEARCH_PAGE, SEARCH_TABLE, SEARCH_VALUES
from gapo_cli.runs.run_data import read_run
from gapo_cli.runs.search_definition import read_definition
from gapo_cli.runs.sweep_plan import folder_of
from gapo_cli.search.companions import WINNER, best
from gapo_cli.search.findings import Findings, Held
from gapo_cli.search.objectives import fitness_of, values_of
from gapo_cli.search.selection import front
from gapo_cli.stages.sweep import read_job
from gapo_cli.statistics.intervals import Measure
from gapo_cli.storage.files import write_json, write_text


@dataclass(frozen=True)
class SearchResult:
    """`failed`: how many of the runs that the winner is compared with, or of the measurements, did not finish; individuals that
    failed are a part of the search."""

    folder: Path
    findings: Findings
    files: tuple[Path, ...]

    @property
    def failed(self) -> int:
        beside = {one.number for one in self.findings.family.companions}
        return sum(record.number in beside for record in self.findings.failed)


def search_of_folder(folder: Path, display: Display) -> SearchResult:
    """Writes evolve.html, evolve.md and evolve.json of the search in `folder`, however far it is. Raises DataError."""
    found = standing(folder)
    found = replace(found, held=measured(folder, found))
    files = tuple(folder / name for name in (SEARCH_PAGE, SEARCH_TABLE, SEARCH_VALUES))
    write_text(files[0], render_search(found))
    write_text(files[1], evolve_markdown(found))
    write_json(files[2], as_values(found))
    for record in found.failed:
        display.say(f"job {record.number} ({record.setting}) failed: {record.error}")
    return SearchResult(folder, found, files)


def standing(folder: Path) -> Findings:
    """What the jobs have reached on dev, before anything is measured on eval."""
    definition, family = read_definition(folder), read_family(folder)
    records = {job.number: read_job(folder_of(folder, job), job) for job in family.jobs}
    trained = [*family.individuals, *(one for one in family.companions if one.kind != MEASURED)]
    values = {one.number: values_of(records[one.number], list(definition.objectives)) for one in trained}
    fitness = fitness_of(values, definition.objectives)
    own = {one.number: fitness[one.number] for one in family.individuals if one.number in fitness}
    return Findings(definition, family, records, values, fitness, front(own), best(own) if own else None)


def measured(folder: Path, found: Findings) -> tuple[Held, ...]:
    """The measurements that have ended, the winner's first."""
    answers: dict[int, list[Prediction]] = {}
    for one in found.family.of_kind(MEASURED):
        if found.records[one.number].error is None:
            answers[one.number] = read_answers(folder_of(folder, one.job))[1]
    done = [one for one in found.family.of_kind(MEASURED) if one.number in answers]
    done.sort(key=lambda one: not one.label.startswith(WINNER))
    winners = [one.number for one in done if one.label.startswith(WINNER)]
    return tuple(
        held(
            folder,
            found,
            one,
            compare(answers[winners[0]], answers[one.number]) if winners[:1] not in ([], [one.number]) else {},
        )
        for one in done
    )


def held(folder: Path, found: Findings, one: Companion, against: Mapping[Mode, Comparison]) -> Held:
    summary = read_run(folder_of(folder, one.job)).evaluations[-1].summary
    exact: dict[Mode, Measure] = {
        mode: breakdown.overall.exact_match for mode, breakdown in summary.by_mode().items() if breakdown is not None
    }
    took = spent(found, one.of)
    seconds = sum(found.records[number].seconds for number in took)
    work = sum(work_done(found, number) for number in took)
    return Held(one.label, one.number, one.of, exact, against, work, seconds)


def spent(found: Findings, of: int | None) -> list[int]:
    """The jobs that had to be run for the model of job `of`: the winner took the whole search, the best of the independent runs all
    of them."""
    individuals = [one.number for one in found.family.individuals]
    if of is None:
        return []
    if of in individuals:
        return individuals
    kind = next(one.kind for one in found.family.companions if one.number == of)
    return [of] if kind == LONG else [one.number for one in found.family.of_kind(INDEPENDENT)]


def work_done(found: Findings, number: int) -> int:
    """What a run was to train, in what the search counts."""
    definition = found.definition
    return definition.each * (
        len(found.family.individuals) if number in {one.number for one in found.family.of_kind(LONG)} else 1
    )


def as_values(found: Findings) -> dict[str, object]:
    """evolve.json: NaN as null."""
    named = {
        str(number): {name: None if math.isnan(value) else value for name, value in values.items()}
        for number, values in found.values.items()
    }
    return {
        "search": found.definition.name,
        "objectives": dict(found.definition.objectives),
        "winner": found.winner,
        "front": list(found.front),
        "values": named,
        "failed": {str(record.number): record.error for record in found.failed},
        "measured": [asdict(one) for one in found.held],
    }
