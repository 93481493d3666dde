"""Tables of the benchmarks: written beside the numbers, and into docs/performance.md where it names them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from measure import into_page, write


def publish(
    name: str,
    title: str,
    head: Sequence[str],
    lines: Sequence[str],
    text: str,
    about: Mapping[str, str],
    rows: list[dict[str, Any]],
    command: str | None = None,
) -> None:
    """A table of cells `lines` under `head`, with `text` and what the numbers hang on below: printed, written to
    results/NAME.md, its numbers to results/NAME.json, and put into docs/performance.md between the lines `<!-- NAME -->` and
    `<!-- end of NAME -->`. `command`: what to run for it (None: NAME.py)."""
    below = f"{text} {', '.join(f'{key} {value}' for key, value in about.items())}."
    table = "\n".join([table_line(head), "|" + "---|" * len(head), *lines, "", below])
    write(name, [f"# {title}", "", table, "", f"Run it again: `python benchmarks/{command or name + '.py'}`"], about, rows)
    into_page(name, table)


def table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def seconds(samples: Sequence[float]) -> str:
    """The median."""
    median = statistics.median(samples)
    return f"{median:.3g} s" if median >= 1 else f"{median * 1e3:.3g} ms"


def spread(samples: Sequence[float]) -> str:
    """The median, and the lowest and highest."""
    return f"{seconds(samples)} ({min(samples):.3g} to {max(samples):.3g})"


def times(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{ratio:.2f}x"


def size(number: float | None) -> str:
    return "not measured" if number is None else f"{number / 2**20:,.0f} MiB"
