"""search.json: what a genetic search looks for, as it was when it began. Its individuals stand in family.json beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from gapo_cli.config.checks import one_of, require
from gapo_cli.config.typed import build_section, is_number, is_whole
from gapo_cli.runs.layout import SEARCH
from gapo_cli.runs.saved_definition import read_saved
from gapo_cli.storage.files import write_json

INHERIT = ("none", "parent", "average")
"""What an individual's weights start from: the model that is configured, its first parent's last checkpoint, or the mean of the
last checkpoints of its two parents."""
GOALS = ("max", "min")


@dataclass(frozen=True)
class Gene:
    """One thing that individuals differ in. Either `choices` label → overrides, or a number of `key` from `low` to `high`
    (`log`: even in its logarithm, `whole`: a whole number). `when` gene → labels: it says nothing unless all of those genes
    have one of these choices. Raises UserError."""

    name: str
    key: str = ""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"space: {self.name}"
        if self.choices:
            require(len(self.choices) >= 2, f"{where}: need at least two choices")
            return
        ends = f"low={self.low} high={self.high}"
        require(is_number(self.low) and is_number(self.high) and self.low < self.high, f"{where}: {ends}: need low < high")
        require(not self.log or self.low > 0, f"{where}: {ends}: log needs low above 0")
        require(not self.whole or (is_whole(self.low) and is_whole(self.high)), f"{where}: {ends}: whole needs whole ends")


@dataclass(frozen=True)
class SearchDefinition:
    """`objectives` metric → max or min, the first one picks the winner. `overrides` are those of every run, `trial` those of the
    individuals and of the runs that they are compared with, `final` those of the measurements on eval. Each individual trains `each` of what `work` counts; the search may
    use `budget` of it in all, or `seconds` of training (one of them). Raises UserError."""

    name: str
    genes: tuple[Gene, ...]
    objectives: Mapping[str, str]
    about: str = ""
    overrides: tuple[str, ...] = ()
    trial: tuple[str, ...] = ()
    final: tuple[str, ...] = ()
    population: int = 8
    work: str = "trainer.steps"
    each: int = 20
    budget: int | None = None
    seconds: float | None = None
    inherit: str = "none"
    crossover: float = 0.9
    mutation: float = 0.3
    baselines: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require(bool(self.genes), f"search {self.name}: space: names nothing to search over")
        require(bool(self.objectives), f"search {self.name}: objectives: need at least one, as val/exact_match: max")
        for metric, goal in self.objectives.items():
            one_of(f"objectives.{metric}", goal, GOALS)
        one_of("evolve.inherit", self.inherit, INHERIT)
        require(self.population >= 2, f"evolve.population={self.population}: need at least 2")
        require(self.each >= 1, f"evolve.each={self.each}: need at least 1")
        for name in ("crossover", "mutation"):
            require(0 <= getattr(self, name) <= 1, f"evolve.{name}={getattr(self, name)}: need 0 to 1")
        known = {gene.name: gene for gene in self.genes}
        for gene in self.genes:
            for other, labels in gene.when.items():
                unknown = [label for label in labels if other not in known or label not in known[other].choices]
                require(
                    other in known and not unknown,
                    f"space: {gene.name}: when {other}={','.join(map(str, unknown or labels))}: is no choice of the space",
                )
        require(
            (self.budget is None) != (self.seconds is None),
            "evolve.budget, evolve.seconds: give one of them: how much the search may use in all",
        )
        one = self.population * self.each
        require(
            self.budget is None or self.budget >= one,
            f"evolve.budget={self.budget}: too small for one generation, in which {self.population} individuals train {self.each} "
            f"each ({self.work}); need at least {one}, or a smaller evolve.population or evolve.each",
        )
        require(self.seconds is None or self.seconds > 0, f"evolve.seconds={self.seconds}: need a number above 0")

    @property
    def generations(self) -> float:
        """How many the budget pays for; infinite where it is in seconds, of which nobody knows before how many they are."""
        return math.inf if self.budget is None else self.budget // (self.population * self.each)


def save_definition(folder: Path, definition: SearchDefinition) -> None:
    write_json(folder / SEARCH, asdict(definition))


def read_definition(folder: Path) -> SearchDefinition:
    """Raises DataError where no search lies, or where its search.json is damaged."""
    return read_saved(folder / SEARCH, partial(build_section, SearchDefinition), "search")
