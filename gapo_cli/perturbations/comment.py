"""A comment more outside the region, about nothing that the task speaks of."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gapo_cli.perturbations.insertion import places_for_a_line, with_line
from gapo_cli.perturbations.quotes import SIGNS, quoted
from gapo_cli.perturbations.texts import all_texts, words_of
from gapo_cli.records import DoesNotApply, EditTask, Perturbed

SENTENCES = (
    "Reviewed in spring, nothing open.", "Slow on old machines.", "Keep this tidy.", "Looks odd but works.", "Measured twice.",
    "Somebody should draw a diagram here.", "Nobody remembers why.", "See the wiki.",
)  # fmt: skip


@dataclass(frozen=True)
class Comment:
    """A comment on a line of its own, indented as the line below it, whose words of more than three letters the task has nowhere."""

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply:
        if task.language not in SIGNS:
            return DoesNotApply("a language without line comments")
        quotes = quoted(task.excerpt, task.language)
        if quotes.ambiguous:
            return DoesNotApply("a string is cut by the excerpt's end")
        places = places_for_a_line(task, quotes)
        taken = {word.lower() for word in words_of(all_texts(task))}
        free = [one for one in SENTENCES if not taken & {word.lower() for word in words_of([one]) if len(word) > 3}]
        if not places or not free:
            return DoesNotApply("no line begins outside the region" if not places else "it has the words of every comment")
        offset = generator.choice(places)
        below = task.excerpt[offset:].split("\n", 1)[0]
        indent = below[: len(below) - len(below.lstrip())]
        return Perturbed(with_line(task, offset, f"{indent}{SIGNS[task.language]} {generator.choice(free)}"))
