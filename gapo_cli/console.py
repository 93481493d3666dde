"""What a running command shows: progress with time left, a live table of metrics, and plain lines where there is no
terminal."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gapo_cli import metric_names as names

if TYPE_CHECKING:
    from gapo_cli.planning.plan import Plan
    from gapo_cli.reports.tables import Table as TextTable
    from gapo_cli.stages.doctor import Diagnosis
    from gapo_cli.stages.evolve import SearchResult
    from gapo_cli.stages.lab import LabResult
    from gapo_cli.stages.lab_gradients import GradientResult
    from gapo_cli.stages.prepare import Described
    from gapo_cli.stages.study import StudyResult
    from gapo_cli.stages.sweep import SweepResult

SHOW_AFTER_SECONDS = 2.0
PLAIN_EVERY_SECONDS = 10.0
ROWS_SHOWN = 15
UNLIMITED_WIDTH = 10_000


@dataclass(frozen=True)
class Column:
    """One column of the live table: a metric by its name in metrics.jsonl, under a title shorter than its own."""

    title: str
    key: str
    digits: int


COLUMNS = (
    Column("step", names.STEP, 0),
    Column("reward", names.MEAN_SCORE, 3),
    Column("exact", names.component("em"), 3),
    Column("loss", names.SUPERVISED_LOSS, 3),
    Column("dpo loss", names.PREFERENCE_LOSS, 3),
    Column("pairs right", names.PREFERENCE_ACCURACY, 2),
    Column("value loss", names.VALUE_LOSS, 3),
    Column("explained", names.EXPLAINED, 2),
    Column("clip", names.CLIPPED, 4),
    Column("entropy", names.ENTROPY, 3),
    Column("zero spread", names.ZERO_SPREAD, 2),
    Column("grad norm", names.GRADIENT_NORM, 3),
    Column("s/step", names.STEP_SECONDS, 2),
    Column("val exact", names.GREEDY_EXACT, 3),
    Column("val sampled", names.SAMPLED_EXACT, 3),
)


IMPORTANT = (
    "step", "reward", "val exact", "loss", "dpo loss", "pairs right", "exact", "s/step", "val sampled", "explained", "value loss", "zero spread", "entropy", "clip", "grad norm",
)  # fmt: skip
"""Titles of COLUMNS, those first that a narrow terminal shows."""
PADDING = 2
"""Blanks that a column takes beside its text."""


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Column title → the row's value as text, for the columns that the row has a number for."""
    found = {}
    for column in COLUMNS:
        value = row.get(column.key)
        if value is not None:
            found[column.title] = f"{value:.{column.digits}f}"
    return found


def metrics_table(rows: Iterable[Mapping[str, str]], width: int = UNLIMITED_WIDTH) -> Table:
    """Rows of `cells` as a table; columns that no row has are left out, and so are those that do not fit into `width`
    characters, the least important first: a number is shown whole or not at all."""
    rows = list(rows)
    titles = fitting([column.title for column in COLUMNS if any(column.title in row for row in rows)], rows, width)
    table = Table(box=None, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(row.get(title, "") for title in titles))
    return table


def fitting(titles: Sequence[str], rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The titles whose columns fit side by side, in their order; of the least wide terminal, the first of IMPORTANT."""
    taken = {title: max(len(title), *(len(row.get(title, "")) for row in rows)) + PADDING for title in titles}
    kept = list(titles)
    for title in sorted(titles, key=IMPORTANT.index, reverse=True):
        if sum(taken[one] for one in kept) <= width or len(kept) == 1:
            break
        kept.remove(title)
    return kept


def show_described(described: Described, console: Console | None = None) -> None:
    """What `gapo prepare` shows: the statistics of the set, what its source has to note, and where it lies."""
    console = console or make_console()
    print_text(console, described.note)
    for shown in described.tables:
        show_table(console, shown)
    prepared = described.prepared
    if not prepared.built:
        for note in prepared.manifest["report"].get("notes", ()):
            print_text(console, note)
    seconds = prepared.manifest["seconds"]
    print_text(console, "")
    print_text(
        console, f"{'built in' if prepared.built else 'was there already; building it took'} {seconds:.1f} s: {prepared.folder}"
    )
    print_text(console, f"statistics: {described.markdown}")


def show_table(console: Console, shown: TextTable) -> None:
    """A table of reports/tables.py after a blank line: its title, cells and note."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column(escape(shown.columns[0]))
    for column in shown.columns[1:]:
        table.add_column(escape(column), justify="right", overflow="fold")
    for row in shown.rows:
        table.add_row(*map(escape, row))
    print_text(console, "")
    console.print(table)
    if shown.note:
        print_text(console, shown.note)


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """The tables of `gapo plan` and what else to know."""
    from gapo_cli.reports.plan_tables import tables, warnings

    console = console or make_console()
    for shown in tables(plan):
        show_table(console, shown)
    for warning in warnings(plan):
        print_text(console, warning)


def show_diagnosis(diagnosis: Diagnosis, console: Console | None = None, *, only_failures: bool = False) -> None:
    """The checks of `gapo doctor`, green and red, and how many failed."""
    console = console or make_console()
    failed = sum(not check.holds for check in diagnosis.checks)
    table = Table(box=None, show_header=False, padding=(0, 1))
    for check in diagnosis.checks:
        if not (only_failures and check.holds):
            mark = "[green]ok[/green]" if check.holds else "[bold red]FAILED[/bold red]"
            table.add_row(check.about, escape(check.name), mark, escape(check.sentence))
    console.print(table)
    if not only_failures:
        total = len(diagnosis.checks)
        print_text(
            console, f"{failed} of {total} checks failed." if failed else f"All {total} checks of {diagnosis.model} are well."
        )


def show_lab(result: LabResult, console: Console | None = None) -> None:
    """The tables of `gapo lab` and where its files lie."""
    console = console or make_console()
    for name, tables in result.tables:
        print_text(console, "")
        print_text(console, name)
        for shown in tables:
            print_text(console, "")
            print_text(console, shown.title)
            show_table(console, shown)
    for path in result.files:
        print_text(console, str(path))


def show_gradients(result: GradientResult, console: Console | None = None) -> None:
    """The table of `gapo lab gradients` and where its files lie."""
    console = console or make_console()
    print_text(console, "")
    print_text(console, result.table.title)
    show_table(console, result.table)
    for path in result.files:
        print_text(console, str(path))


def show_study(result: StudyResult, console: Console | None = None) -> None:
    """The tables of `gapo study`, its verdicts in words, and where its files lie."""
    from gapo_cli.reports.study_tables import METHOD, study_tables, verdict_lines

    console = console or make_console()
    for shown in study_tables(result.definition, result.findings):
        print_text(console, "")
        print_text(console, shown.title)
        show_table(console, shown)
    print_text(console, "")
    print_text(console, METHOD)
    for line in (*verdict_lines(result.definition, result.findings), *result.findings.warnings):
        print_text(console, line)
    for path in result.files:
        print_text(console, str(path))


def show_search(result: SearchResult, console: Console | None = None) -> None:
    """What came of `gapo evolve`, and where its files lie."""
    from gapo_cli.reports.evolve_tables import evolve_tables, outcome_lines

    console = console or make_console()
    for shown in evolve_tables(result.findings):
        print_text(console, "")
        print_text(console, shown.title)
        show_table(console, shown)
    print_text(console, "")
    for line in outcome_lines(result.findings):
        print_text(console, line)
    for path in result.files:
        print_text(console, str(path))


def show_sweep(result: SweepResult, console: Console | None = None) -> None:
    """The table of `gapo sweep` and where its files lie."""
    from gapo_cli.reports.sweep_table import EXPLANATION, HEADINGS, text_rows

    console = console or make_console()
    rows = text_rows(result.table)
    # wide terminals are rare: one block a setting reads better than twelve squeezed columns
    table = Table(box=None, header_style="bold")
    table.add_column(HEADINGS[0])
    for row in rows:
        table.add_column(escape(row[0]), justify="right", overflow="fold")
    for number, heading in enumerate(HEADINGS[1:], start=1):
        table.add_row(heading, *(escape(row[number]) for row in rows))
    print_text(console, EXPLANATION)
    console.print(table)
    for path in (result.markdown, result.csv, result.plot):
        print_text(console, str(path))


def make_console(lines_only: bool = False) -> Console:
    """Standard output. `lines_only`: no live tables or bars even on a terminal, for several processes that share one."""
    console = Console(highlight=False, force_terminal=False if lines_only else None)
    if not console.is_terminal:
        console.width = UNLIMITED_WIDTH  # what goes into a file or a pipe is not cut to a window
    return console


def print_text(console: Console, text: str) -> None:
    """Text as it is; on a terminal long lines are broken between words only, so that a path can be copied whole, and
    lines set in columns are not broken at all."""
    lines = text.split("\n") if console.is_terminal else [text]
    for line in lines:
        if console.is_terminal and "  " not in line:
            line = textwrap.fill(line, console.width, break_long_words=False, break_on_hyphens=False)
        console.print(line, markup=False, soft_wrap=True)


class ConsoleDisplay:
    """A Display on a console; use it as a context manager. Nothing that is over within two seconds gets a bar. `prefix`
    begins every line; `only_evaluations`: rows of metrics without an evaluation are not shown."""

    def __init__(
        self,
        console: Console | None = None,
        prefix: str = "",
        only_evaluations: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or make_console()
        self.prefix = prefix
        self.only_evaluations = only_evaluations
        self.clock = clock
        self.started: dict[str, float] = {}
        self.said: dict[str, float] = {}
        self.rows: list[dict[str, str]] = []
        self.bars: dict[str, Any] = {}
        self.progress_bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=self.console
        )
        self.live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.freeze()

    def progress(self, what: str, done: int, total: int) -> None:
        now = self.clock()
        if what not in self.started or done == 0:
            self.started[what] = self.said[what] = now
        elapsed = now - self.started[what]
        finished = done >= total
        if self.console.is_terminal:
            self.move_bar(what, done, total, visible=elapsed >= SHOW_AFTER_SECONDS and not finished)
        elif elapsed >= SHOW_AFTER_SECONDS and not finished and now - self.said[what] >= PLAIN_EVERY_SECONDS:
            self.said[what] = now
            left = elapsed / done * (total - done) if done else float("nan")
            self.line(f"{what}: {done}/{total}" + (f", {left:.0f} s left" if done else ""))
        if finished:
            self.started.pop(what, None)

    def move_bar(self, what: str, done: int, total: int, *, visible: bool) -> None:
        if what not in self.bars:
            self.bars[what] = self.progress_bars.add_task(escape(what), total=total, visible=False)
        elif done == 0:
            self.progress_bars.reset(self.bars[what], total=total, visible=False)
        self.progress_bars.update(self.bars[what], completed=done, total=total, visible=visible)
        if visible and self.live is None:
            self.start_live()

    def metrics(self, row: Mapping[str, float]) -> None:
        shown = cells(row)
        if not shown or (self.only_evaluations and not any(key.startswith(names.GREEDY) for key in row)):
            return
        self.rows.append(shown)
        if not self.console.is_terminal:
            self.line("  ".join(f"{title} {value}" for title, value in shown.items()))
        elif self.live is None:
            self.start_live()
        else:
            self.refresh()

    def say(self, text: str) -> None:
        """A line that stays: above the live table while something is under way, after it when all is done."""
        if not self.started:
            self.freeze()
        self.line(text)

    def line(self, text: str) -> None:
        print_text(self.console, f"{self.prefix}{text}")

    def start_live(self) -> None:
        self.live = Live(self.renderable(), console=self.console, refresh_per_second=4)
        self.live.start(refresh=True)

    def freeze(self) -> None:
        """Leaves the live table where it stands; the next row begins another."""
        if self.live is not None:
            for bar in self.bars.values():
                self.progress_bars.update(bar, visible=False)
            self.refresh()
            self.live.stop()
            self.live = None
            self.rows = []

    def refresh(self) -> None:
        if self.live is not None:
            self.live.update(self.renderable())

    def renderable(self) -> Group:
        parts: list[Any] = [metrics_table(self.rows[-ROWS_SHOWN:], self.console.width)] if self.rows else []
        return Group(*parts, self.progress_bars)
