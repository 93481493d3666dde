"""study.json: what a study compares, as it was when its jobs began. The jobs themselves stand in sweep.json beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gapo_cli.config.checks import one_of, require
from gapo_cli.config.typed import build_section
from gapo_cli.runs.layout import STUDY
from gapo_cli.runs.saved_definition import read_saved
from gapo_cli.runs.sweep_plan import PlannedJob
from gapo_cli.storage.files import write_json

MEASURES = ("greedy_final", "sampled_final")
"""Held-out exact match of the last evaluation of a run; never the best of those on held-out tasks."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, whose cells are texts, numbers or None."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class StudyDefinition:
    """`settings` and `across` name → overrides: every setting is run for each of `across` (models, say), and compared within it;
    {} means once. `comparisons`: pairs (setting, the one it is compared with). `measure` out of MEASURES decides; `delta`: the
    smallest difference that matters, a share. `seeds` are run at first, up to `budget` with `until_decided`. `reuse`: folders whose
    finished runs stand for jobs of the same settings. `needs`: what this scale takes. Raises UserError."""

    name: str
    settings: Mapping[str, tuple[str, ...]]
    comparisons: tuple[tuple[str, ...], ...]
    about: str = ""
    scale: str = ""
    overrides: tuple[str, ...] = ()
    across: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    measure: str = "greedy_final"
    delta: float = 0.01
    seeds: int = 5
    budget: int = 20
    until_decided: bool = False
    reuse: tuple[str, ...] = ()
    paper: tuple[PaperTable, ...] = ()
    needs: str = ""

    def __post_init__(self) -> None:
        require(len(self.settings) >= 2, f"study {self.name}: settings: need at least two, to compare")
        alike = [name for name, own in self.settings.items() if list(self.settings.values()).count(own) > 1]
        require(not alike, f"study {self.name}: settings {' and '.join(alike)}: are the same; need settings that differ")
        one_of("study.measure", self.measure, MEASURES)
        require(self.delta >= 0, f"study.delta={self.delta}: need 0 or more")
        require(1 <= self.seeds <= self.budget, f"study.seeds={self.seeds}: need 1 to study.budget={self.budget}")
        require(bool(self.comparisons), f"study {self.name}: comparisons: need at least one pair of {', '.join(self.settings)}")
        for pair in self.comparisons:
            require(
                len(pair) == len(set(pair) & self.settings.keys()) == 2,
                f"study {self.name}: comparison {list(pair)}: need two of {', '.join(self.settings)}",
            )
            require(self.comparisons.count(pair) == 1, f"study {self.name}: comparison {list(pair)}: stands there twice")

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


def save_definition(folder: Path, definition: StudyDefinition) -> None:
    write_json(folder / STUDY, asdict(definition))


def read_definition(folder: Path) -> StudyDefinition:
    """Raises DataError where no study lies, or where its study.json is damaged."""
    return read_saved(folder / STUDY, partial(build_section, StudyDefinition), "study")
