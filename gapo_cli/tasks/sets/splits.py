"""Tasks that stand twice: within a split and between splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gapo_cli.records import EditTask


def without_repeats(splits: Mapping[str, Sequence[EditTask]]) -> tuple[dict[str, tuple[EditTask, ...]], Counter[str]]:
    """Inside a split the same history, region and target stand once; a (region, target) pair, compared without blanks,
    stands in the first of the splits that has it. Also returns how many tasks were dropped."""
    kept: dict[str, tuple[EditTask, ...]] = {}
    dropped: Counter[str] = Counter()
    elsewhere: set[tuple[str, str]] = set()
    for name, tasks in splits.items():
        rows: dict[tuple[str, ...], EditTask] = {}
        pairs: set[tuple[str, str]] = set()
        for task in tasks:
            pair = ("".join(task.region.split()), "".join(task.target.split()))
            key = (*pair, *(event.diff.partition("\n")[2] or event.path for event in task.history))
            if pair in elsewhere:
                dropped["in another split"] += 1
            elif key in rows:
                dropped["repeated"] += 1
            else:
                rows[key] = task
                pairs.add(pair)
        kept[name] = tuple(rows.values())
        elsewhere |= pairs
    return kept, dropped
