"""gapo report: one HTML page and a markdown table from one run or many; no model, no config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gapo_cli.errors import UserError
from gapo_cli.interfaces import Display
from gapo_cli.runs.layout import REPORT


@dataclass(frozen=True)
class ReportResult:
    page: Path
    markdown: Path


def report(run_dirs: Sequence[Path], output: Path | None, display: Display) -> ReportResult:
    """Writes the page, and the tables beside it as markdown. `output`: a file, or a folder to put report.html in; None:
    into the run's (or sweep's) own folder, or, for several runs, into the current one. Raises UserError for a path that
    is no run and for an output that cannot be written."""
    from gapo_cli.reports.page import find_runs, write_markdown, write_report

    page = page_path(run_dirs, output)
    for path in (page, page.with_suffix(".md")):
        check_page(path)
    for run in find_runs(run_dirs):
        for note in run.notes:
            display.say(f"{run.name}: {note}")
    try:
        write_report(run_dirs, page)
        markdown = write_markdown(run_dirs, page.with_suffix(".md"))
    except OSError as error:
        raise UserError(f"{page}: cannot be written ({error.strerror}); name another file with --output") from error
    display.say(f"report: {page}")
    display.say(f"tables: {markdown}")
    return ReportResult(page, markdown)


def check_page(path: Path) -> None:
    """Raises UserError where something else than an earlier report lies: a file, or a device, which a new file would replace."""
    from gapo_cli.reports.page import is_report

    if path.exists() and not (path.is_file() and is_report(path)):
        raise UserError(f"{path}: is there already and is no report of gapo; name another file with --output")


def page_path(run_dirs: Sequence[Path], output: Path | None) -> Path:
    if output is not None:
        return output / REPORT if output.is_dir() else output
    return Path(run_dirs[0]) / REPORT if len(run_dirs) == 1 else Path(REPORT)
