"""A newer window of the history: the oldest events are gone."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from gapo_cli.edits.rules.replacement import replace_baseline
from gapo_cli.perturbations.texts import lost_words
from gapo_cli.records import DoesNotApply, EditTask, Perturbed


@dataclass(frozen=True)
class ShorterHistory:
    """Any number of the oldest events is left out, never all, as long as the newer ones ask for the same: no word of the answer is
    lost with them, and the rule that repeats the history's edits makes the same of the region."""

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply:
        if len(task.history) < 2:
            return DoesNotApply("fewer than two events")
        shorter = [replace(task, history=task.history[first:]) for first in range(1, len(task.history))]
        asked = replace_baseline(task)
        kept = [one for one in shorter if not lost_words(task, one) and replace_baseline(one) == asked]
        if not kept:
            return DoesNotApply("the oldest event is needed")
        return Perturbed(generator.choice(kept))
