"""More blank lines around the region: nothing of the code changes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gapo_cli.config.checks import positive
from gapo_cli.perturbations.insertion import places_for_a_line, with_line
from gapo_cli.perturbations.quotes import quoted
from gapo_cli.records import DoesNotApply, EditTask, Perturbed


@dataclass(frozen=True)
class BlankLines:
    """`lines`: so many are added, each at a place of its own draw, outside the region."""

    lines: int = 2

    def __post_init__(self) -> None:
        positive("perturbation.blank_lines", lines=self.lines)

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply:
        changed = task
        for _ in range(self.lines):
            quotes = quoted(changed.excerpt, task.language)
            if quotes.ambiguous:
                return DoesNotApply("a string is cut by the excerpt's end")
            places = places_for_a_line(changed, quotes)
            if not places:
                return DoesNotApply("no line begins outside the region")
            changed = with_line(changed, generator.choice(places), "")
        return Perturbed(changed)
