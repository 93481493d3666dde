"""Tables of the benchmarks: written beside the numbers, and into the page of docs/ that has a place for them."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapo_cli.quantities import MEBIBYTE

RESULTS = Path(__file__).parent / "results"
PAGES = Path(__file__).parent.parent / "docs" / "background"


def publish(
    name: str,
    title: str,
    head: Sequence[str],
    lines: Sequence[str],
    text: str,
    about: Mapping[str, str],
    rows: list[dict[str, Any]],
    command: str,
) -> None:
    """A table of cells `lines` under `head`, with `text` and what the numbers depend on below: printed, written to
    results/NAME.md, its numbers to results/NAME.json, and put into docs/background/performance.md between the lines `<!-- NAME -->` and
    `<!-- end of NAME -->`."""
    below = f"{text} {', '.join(f'{key} {value}' for key, value in about.items())}."
    table = "\n".join([table_line(head), "|" + "---|" * len(head), *lines, "", below])
    write(name, [f"# {title}", "", table, "", f"Run it again: `{command}`"], about, rows)
    into_page(name, table)


def report(name: str, title: str, text: str, about: Mapping[str, str], rows: list[dict[str, Any]]) -> None:
    """`publish` with a row of `measure.row` each."""
    lines = [
        table_line([
            one["setting"], one["rival"], seconds(one["ours_seconds"]), seconds(one["rival_seconds"]),
            f"**{one['ratio_median']:,.0f}x**", f"{one['ratio_lowest']:,.0f} to {one['ratio_highest']:,.0f}",
        ])
        for one in rows
    ]  # fmt: skip
    head = ["setting", "rival", "ours, median", "rival, median", "ratio, median", "lowest to highest"]
    repeats = f"{len(rows[0]['ours_seconds'])} interleaved repeats."
    publish(name, title, head, lines, f"{text} {repeats}", about, rows, f"python benchmarks/{name}.py")


def cost_report(name: str, title: str, text: str, about: Mapping[str, str], rows: list[dict[str, Any]], command: str) -> None:
    """`publish` with a row of `measure.cost_row` each."""
    lines = []
    for one in rows:
        cpu, wall, peak = one["cpu_seconds"], one["wall_seconds"], one["peak_bytes"]
        lines.append(table_line([
            one["setting"], one["rival"], seconds(cpu["ours"]), seconds(cpu["rival"]), f"**{times(cpu['ratio_median'])}**",
            between(cpu), times(wall["ratio_median"]), *(size(peak[whose]) for whose in ("ours", "rival")), times(peak["ratio_median"]),
        ]))  # fmt: skip
    head = [
        "setting",
        "rival",
        "CPU, ours",
        "CPU, rival",
        "ratio",
        "lowest to highest",
        "wall ratio",
        "peak memory, ours",
        "rival",
        "ratio",
    ]
    repeats = f"Medians of {len(rows[0]['cpu_seconds']['ours'])} interleaved repeats in one process."
    publish(name, title, head, lines, f"{text} {repeats}", about, rows, command)


def command_of(script: str, parser: argparse.ArgumentParser, given: argparse.Namespace) -> str:
    """What to type for the same again: the options that are not the default, but not where a model or data lie on this machine."""
    words = ["python", f"benchmarks/{Path(script).name}"]
    for key, value in vars(given).items():
        if value != parser.get_default(key) and not isinstance(value, Path) and not (key == "model" and Path(value).exists()):
            words.append(f"--{key.replace('_', '-')}")
            words += [] if value is True else [str(one) for one in (value if isinstance(value, list) else [value])]
    return shlex.join(words)


def write(name: str, lines: list[str], about: Mapping[str, str], rows: list[dict[str, Any]]) -> None:
    """Prints the lines and writes them to results/NAME.md, and everything to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": dict(about), "rows": rows}, indent=2) + "\n", encoding="utf-8")
    print("\n".join(lines))


def into_page(name: str, text: str, page: str = "performance.md") -> None:
    """Puts `text` into docs/background/PAGE between the lines `<!-- NAME -->` and `<!-- end of NAME -->`, if they are there."""
    path = PAGES / page
    block = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    path.write_text(block.sub(lambda _: f"\n{text}\n\n", path.read_text(encoding="utf-8")), encoding="utf-8")


def table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def seconds(samples: Sequence[float]) -> str:
    """The median."""
    median = statistics.median(samples)
    for unit, length in (("s", 1), ("ms", 1e-3)):
        if median >= length:
            return f"{median / length:.3g} {unit}"
    return f"{median * 1e6:.3g} µs"


def spread(samples: Sequence[float]) -> str:
    """The median, and the lowest and highest."""
    return f"{seconds(samples)} ({min(samples):.3g} to {max(samples):.3g})"


def between(ratios: Mapping[str, float]) -> str:
    """The lowest and highest of what `measure.cost_row` says of one kind of cost."""
    return f"{ratios['ratio_lowest']:.2f} to {ratios['ratio_highest']:.2f}"


def times(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{ratio:.2f}x"


def size(samples: Sequence[float | None]) -> str:
    """The median."""
    known = [one for one in samples if one is not None]
    return f"{statistics.median(known) / MEBIBYTE:,.0f} MiB" if len(known) == len(samples) else "not measured"
