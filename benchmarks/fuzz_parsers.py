"""A hundred thousand broken answers for the parser of each editor's format.

    python benchmarks/fuzz_parsers.py

Answers to generated tasks are cut, and pieces of them dropped, doubled, moved or put in: markers, fences, teachers' words, stray bytes.
Each must be a region or have a named reason why not, and, as a completion that the token limit cut, must never be an edit; the first
that is neither stops the command. A region is all that an answer can change: what lies around it is not in the parser's hands.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from measure import machine
from tables import command_of, table_line, write

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS / "prompts"), str(TESTS)]
READ = ("edit", "unchanged")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--answers", type=int, default=100_000, help="for each format")
    arguments.add_argument("--tasks", type=int, default=4_000, help="whose answers are broken")
    given = arguments.parse_args()
    from format_parts import FORMATS, fuzz

    rows = []
    for name in FORMATS:
        started = time.process_time()
        counts = fuzz(name, given.answers, given.tasks)
        rows.append(
            {"format": name, "answers": counts.total(), "cpu_seconds": time.process_time() - started, "read_as": dict(counts)}
        )
        print(name, dict(counts), flush=True)
    lines = []
    for row in rows:
        reasons = sorted(((count, reason) for reason, count in row["read_as"].items() if reason not in READ), reverse=True)
        named = ", ".join(f"{reason} {100 * count / row['answers']:.1f}" for count, reason in reasons)
        shares = (f"{100 * row['read_as'].get(kind, 0) / row['answers']:.1f}" for kind in READ)
        lines.append(table_line([f"`{row['format']}`", f"{row['answers']:,}", *shares, named]))
    about = machine("tokenizers")
    head = table_line(("format", "answers", "an edit, %", "the region unchanged, %", "no region, %, and why"))
    text = "No crash, no region without a reason or with one, no cut answer that is an edit. "
    write(
        "fuzz_parsers",
        ["# Broken answers, read", "", head, "|---|---:|---:|---:|---|", *lines, "",
         f"{text}{', '.join(f'{key} {value}' for key, value in about.items())}.", "",
         f"Run it again: `{command_of(__file__, arguments, given)}`"],
        about,
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
