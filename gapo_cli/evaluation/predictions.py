"""One answer to one held-out task, in the form that is measured, kept in parquet and shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gapo_cli.edits import matching
from gapo_cli.edits.reversal import region_before, region_undone
from gapo_cli.errors import DataError
from gapo_cli.records import Completion, EditTask

Mode = Literal["greedy", "sampled"]
MODES: tuple[Mode, ...] = ("greedy", "sampled")
NOT_GENERATED = "none"
"""The finish reason of a prediction that no model was asked for: a baseline's, or a prompt that did not fit."""
LATER_COLUMNS: Mapping[str, Any] = {
    "undone": None, "cut": "", "alternatives": (), "previous": None, "cursor": None, "cursor_after": None,
}  # fmt: skip
"""Columns that earlier runs did not write, and what stands for them."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """`before` is the region as it stood, `target` as it should be, `region` as predicted, or None with the reason in
    `malformed`. `sample` counts the sampled answers of a task from 0. `tokens` is the length of the completion.
    `undone`: the region without the history's last edit (reversal.py), None where there is no such edit in it. `cut`: what
    of the task the prompt left out, in words, "" for nothing. `alternatives`: other regions that are as right. `previous`:
    the region before the history's last edit, whatever the target is. `cursor` and `cursor_after`: where the answer and
    the task put the cursor, offsets into `region` and `target`."""

    task_id: str
    family: str
    language: str
    mode: Mode
    sample: int
    text: str
    region: str | None
    malformed: str | None
    finish_reason: str
    tokens: int
    before: str
    target: str
    undone: str | None = None
    cut: str = ""
    alternatives: tuple[str, ...] = ()
    previous: str | None = None
    cursor: int | None = None
    cursor_after: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise DataError(f"prediction of task {self.task_id}: mode '{self.mode}', need one of {', '.join(MODES)}")
        if (self.region is None) == (self.malformed is None):
            raise DataError(f"prediction of task {self.task_id}: needs either a region or the reason why there is none")

    @property
    def targets(self) -> tuple[str, ...]:
        """Every acceptable region, the first one first."""
        return tuple(dict.fromkeys((self.target, *self.alternatives)))

    @property
    def is_right(self) -> bool:
        """The prediction is one of the targets (compared stripped)."""
        return self.region is not None and any(matching.exact_match(self.region, target) for target in self.targets)

    @property
    def changes_something(self) -> bool:
        """The right answer differs from the region as it stood (compared stripped, as exact match is)."""
        return self.before.strip() != self.target.strip()

    @property
    def wants_edit(self) -> bool:
        """No acceptable region is the region as it stood."""
        return all(self.before.strip() != target.strip() for target in self.targets)

    @property
    def wants_silence(self) -> bool:
        """Every acceptable region is the region as it stood."""
        return all(self.before.strip() == target.strip() for target in self.targets)

    @property
    def edits(self) -> bool:
        """The prediction changes the region. A malformed answer does not: nothing is shown of it."""
        return self.region is not None and not self.is_noop

    @property
    def is_noop(self) -> bool:
        """The prediction leaves the region as it stood (compared stripped)."""
        return self.region is not None and self.region.strip() == self.before.strip()

    @property
    def is_reversal(self) -> bool:
        """The prediction is the region without the history's last edit (compared stripped)."""
        return self.undone is not None and self.region is not None and self.region.strip() == self.undone.strip()

    @property
    def is_truncated(self) -> bool:
        return self.finish_reason == "length"


def family_of(task: EditTask) -> str:
    return task.labels.get("family", "")


def prediction_of(task: EditTask, completion: Completion, mode: Mode, sample: int = 0, cut: Sequence[str] = ()) -> Prediction:
    """The prediction that a parsed completion is; `cut` as in Prompt. A completion with neither region nor reason counts as
    "unparsed"."""
    malformed = completion.malformed
    if completion.region is None and malformed is None:
        malformed = "unparsed"
    return Prediction(
        **_of_task(task),
        mode=mode,
        sample=sample,
        text=completion.text,
        region=None if malformed is not None else completion.region,
        malformed=malformed,
        finish_reason=completion.finish_reason,
        tokens=completion.length,
        cut="; ".join(cut),
        cursor=completion.cursor,
    )


def unanswered(task: EditTask, malformed: str, mode: Mode, sample: int = 0, cut: Sequence[str] = ()) -> Prediction:
    """A task that the model could not be asked, for the reason `malformed` ("prompt_too_long"): it counts as wrong."""
    return Prediction(
        **_of_task(task), mode=mode, sample=sample, text="", region=None, malformed=malformed, finish_reason=NOT_GENERATED,
        tokens=0, cut="; ".join(cut),
    )  # fmt: skip


def predicted_region(task: EditTask, region: str) -> Prediction:
    """A region that came from a rule and not from a model: a baseline's prediction."""
    return Prediction(
        **_of_task(task), mode="greedy", sample=0, text=region, region=region, malformed=None, finish_reason=NOT_GENERATED,
        tokens=0,
    )  # fmt: skip


def _of_task(task: EditTask) -> dict[str, Any]:
    """What a prediction says of its task."""
    return {
        "task_id": task.id,
        "family": family_of(task),
        "language": task.language,
        "before": task.region,
        "target": task.target,
        "alternatives": task.alternatives,
        "undone": region_undone(task),
        "previous": region_before(task),
        "cursor_after": task.cursor_after,
    }


def copied(predictions: Iterable[Prediction]) -> list[Prediction]:
    """For each task one answer that leaves its region as it stands."""
    tasks = {one.task_id: one for one in predictions}
    return [
        replace(one, mode="greedy", sample=0, text=one.before, region=one.before, malformed=None,
                finish_reason=NOT_GENERATED, tokens=0, cursor=None)
        for one in tasks.values()
    ]  # fmt: skip


def from_rows(rows: Iterable[Mapping[str, Any]]) -> list[Prediction]:
    """Predictions from rows as pandas gives them back. Columns that a Prediction lacks are passed over; a missing one
    raises DataError, except those that earlier runs did not write."""
    return [_from_row(row) for row in rows]


def _from_row(row: Mapping[str, Any]) -> Prediction:
    try:
        values = {name: row[name] for name in Prediction.__dataclass_fields__ if name not in LATER_COLUMNS}
    except KeyError as error:
        raise DataError(f"predictions: column {error} is missing") from error
    values |= {name: row.get(name, default) for name, default in LATER_COLUMNS.items()}
    for name in ("region", "malformed", "undone", "previous"):
        # a column of strings and None may come back from pandas with NaN for None
        if not isinstance(values[name], str):
            values[name] = None
    for name in ("cursor", "cursor_after"):
        values[name] = None if values[name] is None or values[name] != values[name] else int(values[name])
    values["alternatives"] = tuple(values["alternatives"] if values["alternatives"] is not None else ())
    if values["previous"] is None:  # earlier runs kept it only where the target is not what it was before
        values["previous"] = values["undone"]
    return Prediction(**{**values, "sample": int(values["sample"]), "tokens": int(values["tokens"])})
