"""What each editor's format writes for a region is read back as that region: mined tasks, zeta, EditEval, generated tasks.

    python benchmarks/format_round_trips.py --repos click requests --zeta FOLDER --editeval FOLDER

--repos: git repositories, from which `--tasks` tasks are mined, half of them each of two, with half-typed edits and finished commits
among them. Of every task the region as it stands and every right region are written by `answer` and read by `parse`. Some regions a
format has no way to say (docs/reference/formats.md): they are counted by reason, before they are written. One that comes back as
another text stops the command.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure import machine
from tables import table_line, write

from gapo_cli.interfaces import no_progress
from gapo_cli.records import EditTask
from gapo_cli.tasks.git_history import GitHistory
from gapo_cli.tasks.jsonl import JsonLines
from gapo_cli.tasks.zeta import Zeta

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS / "prompts"), str(TESTS)]


def mined(repository: str, count: int) -> list[EditTask]:
    """So many tasks, evenly spaced over all that the repository gives. Raises SystemExit where it gives fewer."""
    source = GitHistory(repo=repository, name=Path(repository).name, half_typed=0.2, no_edit=0.1)
    tasks = [task for split in source.build(no_progress).splits.values() for task in split]
    if len(tasks) < count:
        raise SystemExit(f"{repository}: gives {len(tasks)} tasks, need {count}; name another or set --tasks lower")
    return [tasks[place * len(tasks) // count] for place in range(count)]


def all_of(source: Zeta | JsonLines) -> list[EditTask]:
    return [task for split in source.build(no_progress).splits.values() for task in split]


def sources(given: argparse.Namespace) -> Iterator[tuple[str, Sequence[EditTask]]]:
    """(name, tasks)"""
    from format_parts import generated_task

    for repository in given.repos:
        tasks = mined(repository, given.tasks // len(given.repos))
        yield f"{Path(repository).name}, mined", tasks
    if given.zeta:
        yield "zeta", all_of(Zeta(given.zeta))
    if given.editeval:
        fields = {"id": "task_id", "excerpt": "input", "target": "output"}
        yield (
            "EditEval",
            all_of(JsonLines(given.editeval, fields=fields, values={"language": "python", "path": "edited_code.py"})),
        )
    yield "generated", [generated_task(seed) for seed in range(given.generated)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repos", nargs="*", default=[], metavar="PATH")
    arguments.add_argument("--zeta", metavar="FOLDER")
    arguments.add_argument("--editeval", metavar="FOLDER")
    arguments.add_argument("--tasks", type=int, default=2000, help="mined ones, of all repositories together")
    arguments.add_argument("--generated", type=int, default=10_000)
    given = arguments.parse_args()
    from format_parts import FORMATS, comes_back

    rows = []
    for source, tasks in sources(given):
        for name in FORMATS:
            counts = comes_back(name, tasks)
            rows.append({"source": source, "tasks": len(tasks), "format": name, "regions": counts.total(), **counts})
            print(source, name, dict(counts), flush=True)
    reasons = sorted({key for row in rows for key in row} - {"source", "tasks", "format", "regions", "whole"})
    head = (
        "tasks of",
        "tasks",
        "format",
        "regions",
        "came back",
        "as another text",
        *(f"cannot be said: {reason}" for reason in reasons),
    )
    lines = [
        table_line([
            row["source"], f"{row['tasks']:,}", f"`{row['format']}`", f"{row['regions']:,}", f"{row['whole']:,}", "0",
            *(f"{row.get(reason, 0):,}" for reason in reasons),
        ])
        for row in rows
    ]  # fmt: skip
    about = machine("tokenizers") | {"threads used": "1"}
    table = [table_line(head), "|---|---:|---|" + "---:|" * (len(head) - 3), *lines]
    about_text = ", ".join(f"{key} {value}" for key, value in about.items())
    command = f"python benchmarks/{os.path.basename(__file__)} --repos {' '.join(Path(one).name for one in given.repos)} --zeta FOLDER --editeval FOLDER"
    write("format_round_trips", ["# What formats write is what they read", "", *table, "", f"{about_text}.", "", f"Run it again: `{command}`"],
          about, rows)  # fmt: skip


if __name__ == "__main__":
    main()
