"""Task statistics to look at: tables for a terminal and a markdown file, and one figure (Figure 2 of arXiv:2510.21830)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapo_cli.reports.tables import NOTHING, Table
from gapo_cli.statistics.task_sets import ALL, PERCENTILES, Distribution, SplitStatistics
from gapo_cli.storage.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = "▁▂▃▄▅▆▇█"
PERCENTILES_SHOWN = (5, 50, 95, 99)
MOST_BARS_DRAWN = 16


def task_tables(
    statistics: Mapping[str, SplitStatistics], repeats: Sequence[Mapping[str, Any]], overlaps: Sequence[Mapping[str, Any]]
) -> list[Table]:
    """`repeats` and `overlaps`: of the manifest (gapo_cli.tasks.sets.duplicates.Overlap as dicts)."""
    shown = columns_shown(statistics)
    tables = [counts_table("language", "languages", shown)]
    if any(one.families for one in shown.values()):
        tables.append(counts_table("family", "families", shown))
    return [*tables, lengths_table(shown), rest_table(shown), repeats_table([*repeats, *overlaps])]


def columns_shown(statistics: Mapping[str, SplitStatistics]) -> dict[str, SplitStatistics]:
    """The splits that have tasks, and all together where there are two or more of them."""
    splits = {name: one for name, one in statistics.items() if name != ALL and one.tasks}
    return splits | ({ALL: statistics[ALL]} if len(splits) > 1 else {})


def counts_table(what: str, field: str, shown: Mapping[str, SplitStatistics]) -> Table:
    """Tasks and shares, the most frequent first."""
    totals = getattr(list(shown.values())[-1], field)
    if len(shown) > 1:
        totals = getattr(shown[ALL], field)
    rows = [(name, *(counted(getattr(one, field).get(name, 0), one.tasks) for one in shown.values())) for name in totals]
    unnamed = [one.tasks - sum(getattr(one, field).values()) for one in shown.values()]
    if any(unnamed):
        rows.append(
            (f"no {what}", *(counted(*pair) for pair in zip(unnamed, (one.tasks for one in shown.values()), strict=True)))
        )
    rows.append(("tasks", *(f"{one.tasks:,}" for one in shown.values())))
    return Table("", (what, *shown), tuple(rows))


def counted(count: int, tasks: int) -> str:
    """As "12 (8.3 %)"."""
    return f"{count:,} ({count / tasks:.1%})".replace("%", " %") if count else NOTHING


def lengths_table(shown: Mapping[str, SplitStatistics]) -> Table:
    ranks = [PERCENTILES.index(rank) for rank in PERCENTILES_SHOWN]
    rows = []
    for name in dict.fromkeys(name for one in shown.values() for name in one.lengths):
        for split, one in shown.items():
            found = one.lengths[name]
            values = (found.minimum, *(found.percentiles[rank] for rank in ranks), found.maximum)
            rows.append((f"{name}, {split}", *(f"{value:,}" for value in values), f"{found.mean:,.1f}", shape(found)))
    headings = (
        "lengths",
        "least",
        *("median" if rank == 50 else f"{rank} %" for rank in PERCENTILES_SHOWN),
        "most",
        "mean",
        "shape",
    )
    note = "Percentiles are values that occur. A shape's buckets go from 0 to the 99th percentile of all tasks; the last has what is above, too."
    return Table("", headings, tuple(rows), note)


def shape(found: Distribution) -> str:
    """A histogram of one line; an empty bucket is a blank."""
    highest = max(found.counts)
    return "".join(BARS[math.ceil(count / highest * len(BARS)) - 1] if count else " " for count in found.counts)


def rest_table(shown: Mapping[str, SplitStatistics]) -> Table:
    rows = [
        ("change nothing", *(counted(one.noop, one.tasks) for one in shown.values())),
        ("add only lines that their history adds", *(counted(one.copied, one.tasks) for one in shown.values())),
        ("prompt without a part of the task", *(counted(one.cut, one.tasks) for one in shown.values())),
    ]
    if all(one.too_long is not None for one in shown.values()):
        rows.append(
            ("prompt and answer too long for the context", *(counted(one.too_long or 0, one.tasks) for one in shown.values()))
        )
    return Table("", ("tasks that", *shown), tuple(rows))


def repeats_table(found: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for pair in found:
        within = pair["first"] == pair["second"]
        where = f"earlier in {pair['first']}" if within else f"{pair['second']}, in {pair['first']} as well"
        example = " = ".join(pair["examples"][0]) if pair["examples"] else NOTHING
        rows.append((where, *(f"{pair[kind]:,}" if pair[kind] else NOTHING for kind in ("exact", "near")), example))
    note = "Tasks whose edit (region and target) stands elsewhere, word for word or nearly (3-token shingles, Jaccard 0.8 or more)."
    return Table("", ("repeated edits", "exact", "near", "an example"), tuple(rows), note)


def markdown(title: str, notes: Sequence[str], tables: Sequence[Table], figure: str) -> str:
    parts = [
        f"# {title}",
        *notes,
        *(table.to_markdown().rstrip("\n") for table in tables),
        f"![languages and lengths]({figure})",
    ]
    return "\n\n".join(parts) + "\n"


def draw(statistics: Mapping[str, SplitStatistics], path: Path) -> None:
    """Languages (families where there is one language), and the lengths of each split, as SVG."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    whole = statistics[ALL]
    splits = {name: one for name, one in statistics.items() if name != ALL and one.tasks}
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasSVG(figure)
    axes = iter(figure.subplots(2, 3).flat)
    draw_shares(
        next(axes),
        *(("families", whole.families) if len(whole.languages) == 1 and whole.families else ("languages", whole.languages)),
        whole.tasks,
    )
    for name in whole.lengths:
        draw_lengths(next(axes), name, {split: one.lengths[name] for split, one in splits.items()})
    for unused in axes:
        unused.set_axis_off()
    figure.axes[1].legend(fontsize="small")
    figure.supxlabel("The last bar of a length has everything above it, too.", fontsize="small")
    # the same statistics give the same file
    with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "gapo", "svg.fonttype": "none"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def draw_shares(axes: Axes, title: str, counts: Mapping[str, int], tasks: int) -> None:
    names = list(counts)[:MOST_BARS_DRAWN]
    axes.barh([name or "none" for name in names], [100 * counts[name] / tasks for name in names])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize="small")
    axes.set_title(f"{title}, % of the tasks" + (f" (the first {len(names)})" if len(names) < len(counts) else ""))


def draw_lengths(axes: Axes, title: str, by_split: Mapping[str, Distribution]) -> None:
    for split, found in by_split.items():
        width = found.edges[1] - found.edges[0] if len(found.edges) > 1 else 1
        axes.stairs([100 * count / found.count for count in found.counts], [*found.edges, found.edges[-1] + width], label=split)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"{title}, % of the tasks")
