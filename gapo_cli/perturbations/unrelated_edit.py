"""One event more in the history: an edit of another file that has nothing to do with the task."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from gapo_cli.perturbations.texts import all_texts, words_of
from gapo_cli.records import DoesNotApply, EditTask, HistoryEvent, Perturbed

FILE = "notes.txt"
LINES = (
    ("tulips along the northern fence", "daffodils along the northern fence"),
    ("breakfast at seven", "breakfast at nine"),
    ("borrow a ladder on friday", "borrow a ladder on sunday"),
    ("soup, bread, cheese", "soup, bread, olives"),
    ("the blue kettle leaks", "the red kettle leaks"),
    ("repaint the shed", "repaint the gate"),
)


@dataclass(frozen=True)
class UnrelatedEdit:
    """The edit stands anywhere in the history. No word that it changes occurs in the task: nothing in it asks for more."""

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply:
        taken = {word.lower() for word in words_of(all_texts(task))}
        free = [(old, new) for old, new in LINES if taken.isdisjoint(words_of([old]) ^ words_of([new]))]
        if not free:
            return DoesNotApply("it has the words of every unrelated edit")
        old, new = generator.choice(free)
        event = HistoryEvent("edit", FILE, f"@@ -1,1 +1,1 @@\n-{old}\n+{new}\n")
        place = generator.randint(0, len(task.history))
        return Perturbed(replace(task, history=(*task.history[:place], event, *task.history[place:])))
