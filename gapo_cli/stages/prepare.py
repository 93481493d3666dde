"""gapo prepare: the task set, and beside its manifest what it is made of: statistics.json, statistics.md, statistics.svg.

Only this verb counts tokens; the others prepare what they miss by `stages.prepare` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display
from gapo_cli.planning.task_lengths import find_tokenizer, measure_all
from gapo_cli.reports.tables import Table
from gapo_cli.reports.task_tables import draw, markdown, task_tables
from gapo_cli.runs.layout import STATISTICS, STATISTICS_PLOT, STATISTICS_TABLE
from gapo_cli.statistics.task_sets import ALL, SplitStatistics, task_statistics
from gapo_cli.storage.files import write_json, write_text
from gapo_cli.tasks.sets.prepared import Prepared, prepare
from gapo_cli.tasks.sets.store import load_split


@dataclass(frozen=True)
class Described:
    """A prepared set, its statistics by split (and "all"), and the tables that show them; `note` says what was measured.
    `markdown`: the file."""

    prepared: Prepared
    statistics: Mapping[str, SplitStatistics]
    tables: tuple[Table, ...]
    note: str
    markdown: Path


def prepare_and_describe(experiment: Experiment, display: Display) -> Described:
    """Prepares the set where it is missing, and writes its statistics as the model and the template of this experiment see
    it. Without the model's tokenizer, lengths are in characters only. Raises DataError as `prepare` does."""
    prepared = prepare(experiment, display)
    folder, manifest = prepared.folder, prepared.manifest
    splits = {split: load_split(folder, split) for split in manifest["splits"]}
    tokenizer = find_tokenizer(experiment, display)
    measured = {}
    if tokenizer is not None:
        try:
            measured = measure_all(experiment, splits, tokenizer, display)
        except UserError as error:
            display.say(f"lengths in characters only: {error}")
            tokenizer = None
    if tokenizer is None:
        measured = measure_all(experiment, splits, None, display)
    statistics = task_statistics(splits, measured, experiment.model.context_length)
    tables = task_tables(statistics, manifest["repeats"], manifest["overlaps"])
    template = type(experiment.template).__name__
    note = f"Prompts and answers as {template} writes them, in characters" + (
        "." if tokenizer is None else f" and in tokens of {experiment.model.path} (an answer's with its end token)."
    )
    write_json(
        folder / STATISTICS,
        {
            "data": manifest["name"],
            "template": template,
            "tokenizer": None if tokenizer is None else experiment.model.path,
            "context_length": experiment.model.context_length,
            "splits": {split: one.to_dict() for split, one in statistics.items() if split != ALL},
            "all": statistics[ALL].to_dict(),
            "repeats": manifest["repeats"],
            "overlaps": manifest["overlaps"],
            "skipped": manifest["report"].get("skipped", 0),
        },
    )
    draw(statistics, folder / STATISTICS_PLOT)
    notes = [note, *manifest["report"].get("notes", ())]
    write_text(folder / STATISTICS_TABLE, markdown(f"Tasks of data={manifest['name']}", notes, tables, STATISTICS_PLOT))
    return Described(prepared, statistics, tuple(tables), note, folder / STATISTICS_TABLE)
