"""What is reached without a model: leave the region as it stands, or repeat what the history did.

A model that does not beat these has learnt nothing that a text editor could not do. `replace_baseline` takes every
changed line of the history's diffs, learns textual substitutions from it (textual_edits.py, substitutions.py) and makes
them in the region:

- A run of removed lines is paired with the run of added lines after it, line by line, if both are equally long. One line
  that was only added or only removed is learnt with its neighbours (line_edits.py); longer blocks that changed their
  length teach nothing, and neither do lines of more than LONGEST_LINE characters or MOST_TOKENS tokens. A line that was
  changed again later counts once, from its first to its last form; of many changes the newest MOST_CHANGES count.
- Of each change, the plainest rule that finds a place in the region is used: the same word or text (with the same dot
  before or bracket behind, then without); an argument added to calls of the same function; an insertion or a changed
  operator between the same neighbours; other quotes; and last a template, where what the change kept or moved is a hole.
  All this is tried with quoted strings as single tokens first, then with the words inside them.
- A rule is applied at every place where it fits in the region, the newest change first where two compete. A place that
  shows the new text already is left alone.
- It does not parse, does not know any language, does not look outside the region, invents no names, and does not
  generalise over several examples (after `== None` → `is None` it does not know what becomes of `!= None`).

On data=stdlib, whose tasks are such repetitions, it is right far more often than a small model; on edits that people made
it is right hardly more often than a copy. It stands beside every result so that nobody mistakes the one for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from gapo_cli.edits.delta_chrf import NEWEST
from gapo_cli.edits.rules.replacement import replace_baseline
from gapo_cli.evaluation.predictions import predicted_region
from gapo_cli.evaluation.summary import Breakdown, summarise
from gapo_cli.records import EditTask


def copy_baseline(task: EditTask) -> str:
    """The region unchanged."""
    return task.region


BASELINES: Mapping[str, Callable[[EditTask], str]] = MappingProxyType({"copy": copy_baseline, "replace": replace_baseline})


def measure_baselines(tasks: Iterable[EditTask], constants: str = NEWEST) -> dict[str, Breakdown]:
    """Each baseline's answers to the tasks, measured as a model's greedy answers are; `constants`: of delta-chrF. Raises
    ValueError without tasks."""
    tasks = tuple(tasks)
    measured = {}
    for name, baseline in BASELINES.items():
        breakdown = summarise([predicted_region(task, baseline(task)) for task in tasks], constants=constants).greedy
        if breakdown is None:
            raise ValueError("measure_baselines: need at least one task")
        measured[name] = breakdown
    return measured
