"""gapo lab: what estimators make of saved rewards; no model, no torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gapo_cli.interfaces import Display
from gapo_cli.lab.laboratory import LabSettings, SourceResult, examine
from gapo_cli.lab.saved_rewards import each_once, names_of
from gapo_cli.reports.lab_page import render_lab
from gapo_cli.reports.lab_tables import lab_tables, long_rows, sections_markdown
from gapo_cli.reports.tables import Table
from gapo_cli.runs.claim import check_free
from gapo_cli.runs.layout import LAB_PAGE, LAB_ROWS, LAB_TABLE, LAB_VALUES
from gapo_cli.storage.files import atomic_path, write_json, write_text


@dataclass(frozen=True)
class LabResult:
    folder: Path
    sources: tuple[SourceResult, ...]
    tables: tuple[tuple[str, tuple[Table, ...]], ...]
    """For each source: what is to be known of it, and its tables."""
    files: tuple[Path, ...]


def lab(rollouts: Sequence[Path], settings: LabSettings, folder: Path, display: Display) -> LabResult:
    """Examines each of the rollouts once and writes lab.json, .csv, .md and .html into `folder`, which holds nothing yet. Raises
    UserError."""
    check_free(folder, f"--output {folder}")
    import pandas as pd

    started = time.monotonic()
    rollouts = each_once(rollouts)
    sources = tuple(
        examine(path, name, settings, display.progress) for path, name in zip(rollouts, names_of(rollouts), strict=True)
    )
    tables = tuple((source.saved.name, tuple(lab_tables(source))) for source in sources)
    for source in sources:
        for note in source.notes:
            display.say(f"{source.saved.name}: {note}")
    rows = [row for source in sources for row in long_rows(source)]
    page, markdown, values, numbers = (folder / name for name in (LAB_PAGE, LAB_TABLE, LAB_ROWS, LAB_VALUES))
    write_json(
        numbers,
        {
            "rollouts": [str(path) for path in rollouts],
            "estimators": [variant.name for variant in settings.variants],
            "trials": settings.trials,
            "seed": settings.seed,
            "notes": {source.saved.name: list(source.notes) for source in sources},
            "rows": rows,
        },
    )
    with atomic_path(values) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    write_text(markdown, sections_markdown(sources, tables))
    write_text(page, render_lab(sources, settings, tables))
    display.say(f"{len(rows)} rows in {time.monotonic() - started:.1f} s")
    return LabResult(folder, sources, tables, (page, markdown, values, numbers))
