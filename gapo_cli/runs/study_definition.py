"""study.json: what a study compares, as it was when its jobs began. The jobs themselves stand in sweep.json beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from gapo_cli.config.checks import require
from gapo_cli.errors import UserError
from gapo_cli.runs.layout import STUDY
from gapo_cli.runs.saved_definition import read_saved
from gapo_cli.runs.sweep_plan import PlannedJob
from gapo_cli.storage.files import write_json

MEASURES = ("greedy_final", "sampled_final")
"""Held-out exact match of the last evaluation of a run; never the best of those on held-out tasks."""


@dataclass(frozen=True)
class StudyDefinition:
    """`settings` and `across` name → overrides: every setting is run for each of `across` (models, say), and compared within it;
    {} means once. `comparisons`: pairs (setting, the one it is compared with). `measure` out of MEASURES decides; `delta`: the
    smallest difference that matters, a share. `seeds` are run at first, up to `budget` with `until_decided`. `reuse`: folders whose
    finished runs stand for jobs of the same settings. `paper`: tables with
    `title`, `columns`, `rows` and `note`, as the paper has them. `needs`: what this scale takes. Raises UserError."""

    name: str
    about: str
    settings: Mapping[str, Sequence[str]]
    comparisons: Sequence[Sequence[str]]
    scale: str = ""
    overrides: Sequence[str] = ()
    across: Mapping[str, Sequence[str]] = field(default_factory=dict)
    measure: str = "greedy_final"
    delta: float = 0.01
    seeds: int = 5
    budget: int = 20
    until_decided: bool = False
    reuse: Sequence[str] = ()
    paper: Sequence[Mapping[str, Any]] = ()
    needs: str = ""

    def __post_init__(self) -> None:
        require(len(self.settings) >= 2, f"study {self.name}: settings: need at least two, to compare")
        require(self.measure in MEASURES, f"study.measure={self.measure}: need one of {', '.join(MEASURES)}")
        require(self.delta >= 0, f"study.delta={self.delta}: need 0 or more")
        require(1 <= self.seeds <= self.budget, f"study.seeds={self.seeds}: need 1 to study.budget={self.budget}")
        for pair in self.comparisons:
            unknown = [name for name in pair if name not in self.settings]
            require(
                len(pair) == 2 and not unknown,
                f"study {self.name}: comparison {list(pair)}: need two of {', '.join(self.settings)}",
            )

    @property
    def places(self) -> Mapping[str, Sequence[str]]:
        return self.across or {"": ()}

    def jobs(self, seeds: Sequence[int], first_number: int = 0) -> tuple[PlannedJob, ...]:
        """One job for each setting in each place with each seed; seeds outermost, so that a study that is stopped has pairs."""
        return tuple(
            PlannedJob(first_number + number, setting_name(setting, place), str(seed), (*own, *overrides, f"seed={seed}"))
            for number, (seed, place, own, setting, overrides) in enumerate(
                (seed, place, own, setting, overrides)
                for seed in seeds
                for place, own in self.places.items()
                for setting, overrides in self.settings.items()
            )
        )


def setting_name(setting: str, place: str) -> str:
    """What a job's setting is called where settings are run in several places."""
    return f"{setting}, {place}" if place else setting


def make_definition(values: Mapping[str, Any], where: str) -> StudyDefinition:
    """From the values of a yaml or JSON file. Raises UserError for a key that a study does not have, or lacks."""
    known = {one.name for one in fields(StudyDefinition)}
    unknown = [key for key in values if key not in known]
    if unknown:
        raise UserError(f"{where}: {', '.join(unknown)}: no such key of a study; need some of {', '.join(sorted(known))}")
    try:
        return StudyDefinition(**values)
    except TypeError as error:
        raise UserError(f"{where}: is no study ({error})") from error


def save_definition(folder: Path, definition: StudyDefinition) -> None:
    write_json(folder / STUDY, asdict(definition))


def read_definition(folder: Path) -> StudyDefinition:
    """Raises DataError where no study lies, or where its study.json is damaged."""
    return read_saved(folder / STUDY, make_definition, "study")
