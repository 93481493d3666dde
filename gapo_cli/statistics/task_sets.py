"""What a task set is made of: languages, families, lengths of prompts and answers, history, edits that change nothing.

The measures of Table 1 and Figure 2 of arXiv:2510.21830, for each split and for all of them together. Lengths are those
of one template's prompts and answers, in characters and, where the model's tokenizer is at hand, in its tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gapo_cli.records import EditTask

PERCENTILES = (5, 25, 50, 75, 95, 99)
MOST_BUCKETS = 16
NICE_STEPS = (1, 2, 5, 10)
ALL = "all"


@dataclass(frozen=True, slots=True)
class Measured:
    """One task as a template and a tokenizer see it. `answer_tokens` has the end token; both are None without tokenizer.
    `cut`: the template's budget removed something."""

    prompt_characters: int
    answer_characters: int
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    cut: bool = False


@dataclass(frozen=True)
class Distribution:
    """Of whole numbers. `percentiles`: those of PERCENTILES, each a value that occurs. `counts`: how many lie in
    [edges[n], edges[n + 1]); the last bucket has no upper end."""

    count: int
    mean: float
    minimum: int
    maximum: int
    percentiles: tuple[int, ...]
    edges: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Sequence[int], edges: Sequence[int]) -> Distribution:
        """Raises ValueError without values."""
        if not len(values):
            raise ValueError("no values: a distribution needs at least one")
        numbers = np.asarray(values)
        places = np.searchsorted(edges, numbers, side="right") - 1
        return cls(
            count=len(numbers),
            mean=float(numbers.mean()),
            minimum=int(numbers.min()),
            maximum=int(numbers.max()),
            percentiles=tuple(int(value) for value in np.percentile(numbers, PERCENTILES, method="inverted_cdf")),
            edges=tuple(edges),
            counts=tuple(int(count) for count in np.bincount(places, minlength=len(edges))),
        )


def bucket_edges(values: Sequence[int]) -> tuple[int, ...]:
    """Lower ends of at most MOST_BUCKETS buckets of a round width, from 0 to the 99th percentile of `values`."""
    highest = int(np.percentile(values, 99, method="inverted_cdf"))
    widths = (step * 10**power for power in range(20) for step in NICE_STEPS[:-1])
    width = next(width for width in widths if highest // width < MOST_BUCKETS)
    return tuple(range(0, highest + 1, width))


@dataclass(frozen=True)
class SplitStatistics:
    """`copied`: tasks that add only lines which their history adds. `lengths`: what is measured → its distribution, for tasks there are. `too_long`: tasks whose prompt and answer do
    not fit the model's context (None: nobody counted tokens)."""

    tasks: int
    languages: Mapping[str, int]
    families: Mapping[str, int]
    noop: int
    copied: int
    cut: int
    too_long: int | None
    lengths: Mapping[str, Distribution]

    def to_dict(self) -> dict[str, Any]:
        """With shares beside the counts, and percentiles by their names."""
        row = asdict(self)
        for name in ("languages", "families"):
            counts = getattr(self, name)
            row[name] = {key: {"tasks": count, "share": count / self.tasks} for key, count in counts.items()}
        row["noop_share"] = self.noop / self.tasks if self.tasks else None
        for one in row["lengths"].values():
            one["percentiles"] = {f"p{rank}": value for rank, value in zip(PERCENTILES, one["percentiles"], strict=True)}
        return row


def lengths_of(task: EditTask, measured: Measured) -> dict[str, int]:
    """What is measured of one task. `history`: events the task has, shown by the template or not."""
    found = {
        "prompt characters": measured.prompt_characters,
        "answer characters": measured.answer_characters,
        "prompt tokens": measured.prompt_tokens,
        "answer tokens": measured.answer_tokens,
        "history": len(task.history),
    }
    return {name: value for name, value in found.items() if value is not None}


def task_statistics(
    splits: Mapping[str, Sequence[EditTask]], measured: Mapping[str, Sequence[Measured]], context_length: int
) -> dict[str, SplitStatistics]:
    """Of each split, and of all tasks under ALL. `measured` goes with `splits`, task by task; all of them have tokens or
    none has. Buckets are the same for all splits."""
    lengths = {split: [lengths_of(*pair) for pair in zip(splits[split], measured[split], strict=True)] for split in splits}
    every = [one for rows in lengths.values() for one in rows]
    edges = {name: bucket_edges([one[name] for one in every]) for name in (every[0] if every else ())}

    def of(tasks: Sequence[EditTask], found: Sequence[Measured], rows: Sequence[Mapping[str, int]]) -> SplitStatistics:
        counted = [one.prompt_tokens + one.answer_tokens for one in found if one.prompt_tokens is not None]
        return SplitStatistics(
            tasks=len(tasks),
            languages=dict(Counter(task.language for task in tasks).most_common()),
            families=dict(Counter(family for task in tasks if (family := task.labels.get("family"))).most_common()),
            noop=sum(task.is_noop for task in tasks),
            copied=sum(task.copied_from_history for task in tasks),
            cut=sum(one.cut for one in found),
            too_long=sum(tokens > context_length for tokens in counted) if len(counted) == len(tasks) else None,
            lengths={name: Distribution.of([row[name] for row in rows], edges[name]) for name in (rows[0] if rows else ())},
        )

    statistics = {split: of(splits[split], measured[split], lengths[split]) for split in splits}
    whole = of(
        [task for tasks in splits.values() for task in tasks], [one for some in measured.values() for one in some], every
    )
    return statistics | {ALL: whole}
