"""The related files in another order."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from gapo_cli.records import DoesNotApply, EditTask, Perturbed


@dataclass(frozen=True)
class RelatedOrder:
    """They change places with one another, and each takes the `order` of its new place. Other hints stay where they are."""

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply:
        places = [place for place, hint in enumerate(task.hints) if hint.kind == "related_file"]
        if len(places) < 2:
            return DoesNotApply("fewer than two related files")
        others = places
        while others == places:
            others = generator.sample(places, len(places))
        hints = list(task.hints)
        for place, other in zip(places, others, strict=True):
            hints[place] = replace(task.hints[other], order=task.hints[place].order)
        return Perturbed(replace(task, hints=tuple(hints)))
