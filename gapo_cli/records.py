"""The words that all rooms share: tasks, prompts, completions, groups, advantages.

Offsets are code points into `EditTask.excerpt`. A region's text is whole lines, trailing newline included. Markers
are put in by prompt templates and never stored; whether an edit changes nothing is derived, not stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np

from gapo_cli.errors import DataError

BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a task comes from."""

    dataset: str
    split: str
    row: int | None = None
    repo: str | None = None
    revision: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Hint:
    """Something beside the excerpt that helps. `text`: an excerpt of a related file, or a diagnostic's message. `rows`: the
    rows [start, end) of `path`, from 0, that it is or speaks of; `file_rows`: how many rows that file has. `order`: the
    smaller, the sooner it is shown where not all fit. `source`: how it was found (`git_commit`, `import`, `lsp`, ...).
    `snippet`: the code that a diagnostic speaks of."""

    kind: Literal["diagnostic", "related_file", "outline", "note"]
    path: str | None
    text: str
    rows: tuple[int, int] | None = None
    order: int = 0
    source: str | None = None
    file_rows: int | None = None
    snippet: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One thing the developer did before; `diff` is a unified diff's body (hunk header and lines). `predicted`: it was a
    prediction that the developer accepted, not typed."""

    kind: Literal["edit", "open", "rename"]
    path: str
    diff: str = ""
    old_path: str | None = None
    predicted: bool = False

    def __post_init__(self) -> None:
        if self.kind == "rename" and not self.old_path:
            raise DataError(f"the rename of {self.path} in the history has no old_path")


def _lines(text: str) -> Counter[str]:
    return Counter(filter(None, map(str.strip, text.split("\n"))))


LINE_ENDS = ("\r\n", "\r")
"""What ended lines that are read, and compared, with "\n"."""


@dataclass(frozen=True, slots=True)
class EditTask:
    """One code edit to predict: `target` replaces `excerpt[editable[0]:editable[1]]`; each of `alternatives` is as right.
    `no_edit`: the right answer is to predict nothing, and the target is the region as it stands. `cursor_after`: where the
    cursor goes once the edit is made, as an offset into `target`. History is oldest first. `line_ends`: what
    ended lines where that was not "\n", which it is in all texts here: for those who write an answer back."""

    id: str
    source: Source
    language: str
    path: str
    excerpt: str
    editable: tuple[int, int]
    target: str
    cursor: tuple[int, int] | None = None
    at_file_start: bool = False
    history: tuple[HistoryEvent, ...] = ()
    hints: tuple[Hint, ...] = ()
    system: str | None = None
    instruction: str | None = None
    alternatives: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    assertions: str | None = None
    tests: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] | None = None
    cursor_after: int | None = None
    no_edit: bool = False
    line_ends: str | None = None

    def __post_init__(self) -> None:
        start, end = self.editable
        if not 0 <= start <= end <= len(self.excerpt):
            raise DataError(
                f"task {self.id}: editable [{start}, {end}) lies outside its excerpt of {len(self.excerpt)} characters"
            )
        if self.cursor is not None and not 0 <= self.cursor[0] <= self.cursor[1] <= len(self.excerpt):
            raise DataError(
                f"task {self.id}: cursor {list(self.cursor)} lies outside its excerpt of {len(self.excerpt)} characters"
            )
        if self.cursor_after is not None and not 0 <= self.cursor_after <= len(self.target):
            raise DataError(
                f"task {self.id}: cursor_after {self.cursor_after} lies outside its target of {len(self.target)} characters"
            )
        if self.no_edit and not self.is_noop:
            raise DataError(f"task {self.id}: no_edit, but its target is not the region as it stands")

    @property
    def region(self) -> str:
        return self.excerpt[self.editable[0] : self.editable[1]]

    @property
    def before(self) -> str:
        return self.excerpt[: self.editable[0]]

    @property
    def after(self) -> str:
        return self.excerpt[self.editable[1] :]

    @property
    def is_noop(self) -> bool:
        """The right answer changes nothing (compared stripped, as exact match is)."""
        return self.region.strip() == self.target.strip()

    @property
    def copied_from_history(self) -> bool:
        """The edit adds lines, and the history adds every one of them: it can be solved by copying. The lines that it adds are
        those that the target has more often than the region; blank ones and the blanks around a line do not count."""
        added = _lines(self.target) - _lines(self.region)
        rows = (row for event in self.history for row in event.diff.split("\n"))
        return bool(added) and added.keys() <= {row[1:].strip() for row in rows if row.startswith("+")}

    @property
    def targets(self) -> tuple[str, ...]:
        """Every acceptable region, the first one first, each once."""
        return tuple(dict.fromkeys((self.target, *self.alternatives)))

    @property
    def cuts_lines(self) -> bool:
        """The region begins or ends inside a line."""
        start, end = self.editable
        return (start > 0 and self.excerpt[start - 1] != "\n") or (
            end < len(self.excerpt) and end > 0 and self.excerpt[end - 1] != "\n" and self.excerpt[end] != "\n"
        )

    def with_line_feeds(self) -> EditTask:
        """The same task with "\n" at the end of every line and no byte-order mark; offsets move along. Lines end in "\r\n", or in "\r"
        alone where no text of the task has a "\n"."""
        marked = self.excerpt.startswith(BYTE_ORDER_MARK)
        end = self._other_line_end()
        if not (marked or end):
            return self

        def moved(offset: int) -> int:
            shorter = self.excerpt.count(end, 0, offset + 1) if end == "\r\n" else 0
            return offset - (marked and offset > 0) - shorter

        def plain(text: str) -> str:
            return text.replace(end, "\n") if end else text

        def region(text: str) -> str:
            return plain(text.removeprefix(BYTE_ORDER_MARK) if marked and self.editable[0] == 0 else text)

        return replace(
            self,
            excerpt=plain(self.excerpt.removeprefix(BYTE_ORDER_MARK)),
            editable=(moved(self.editable[0]), moved(self.editable[1])),
            cursor=None if self.cursor is None else (moved(self.cursor[0]), moved(self.cursor[1])),
            target=region(self.target),
            cursor_after=None if self.cursor_after is None else len(region(self.target[: self.cursor_after])),
            alternatives=tuple(map(region, self.alternatives)),
            rejected=tuple(map(region, self.rejected)),
            # a diff ends its own lines in "\n": of a file whose lines end in "\r" it has one line
            history=tuple(replace(event, diff=event.diff.replace("\r\n", "\n")) for event in self.history),
            hints=tuple(replace(hint, text=plain(hint.text)) for hint in self.hints),
            line_ends=end or self.line_ends,
        )

    def _other_line_end(self) -> str | None:
        """What ends the lines of the task's texts where that is not "\n"."""
        texts = (self.excerpt, self.target, *self.alternatives, *self.rejected, *(hint.text for hint in self.hints))
        if any("\r\n" in text for text in (*texts, *(event.diff for event in self.history))):
            return "\r\n"
        return "\r" if any("\r" in text for text in texts) and not any("\n" in text for text in texts) else None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; what is as by default is left out. `EditTask.from_dict` is its inverse."""
        row = said(self)
        row["source"] = asdict(self.source)
        for name in ("history", "hints"):
            if name in row:
                row[name] = [said(entry) for entry in row[name]]
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> EditTask:
        """Raises DataError for missing, unknown or ill-typed fields."""
        try:
            values = dict(row)
            values["source"] = Source(**values["source"])
            values["editable"] = tuple(values["editable"])
            if values.get("cursor") is not None:
                values["cursor"] = tuple(values["cursor"])
            values["history"] = tuple(HistoryEvent(**event) for event in values.get("history", ()))
            values["hints"] = tuple(_hint(hint) for hint in values.get("hints", ()))
            for name in ("alternatives", "rejected"):
                values[name] = tuple(values.get(name, ()))
            for name in ("id", "language", "path", "excerpt", "target"):
                if not isinstance(values[name], str):
                    raise DataError(f"field '{name}' must be a string, got {type(values[name]).__name__}")
            return cls(**values).with_line_feeds()
        except KeyError as error:
            raise DataError(f"field {error} is missing") from error
        except TypeError as error:
            raise DataError(f"not an edit task: {error}") from error


def said(record: Any) -> dict[str, Any]:
    """The fields of a record that are not as by default."""
    row = {}
    for one in fields(record):
        value = getattr(record, one.name)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if default is MISSING or value != default:
            row[one.name] = value
    return row


def _hint(row: Mapping[str, Any]) -> Hint:
    rows = row.get("rows")
    return Hint(**{**row, "rows": None if rows is None else tuple(rows)})


def as_it_stands(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Perturbed:
    """A changed task whose target is what its changed history asks for. `restored`: reads an answer to it as an answer to the
    task that it was made of, so that restored(its target) is that task's target."""

    task: EditTask
    restored: Callable[[str], str] = as_it_stands


@dataclass(frozen=True, slots=True)
class DoesNotApply:
    """A task that a perturbation cannot change, and why: the same words for the same reason, so that reasons can be counted."""

    reason: str


@dataclass(frozen=True, slots=True)
class TaskSet:
    """Tasks by split name and what the source wants to say about how they were made (counts, rejects, hashes)."""

    splits: Mapping[str, tuple[EditTask, ...]]
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a template makes of a task. A raw prompt has `text`; a chat prompt has `messages`, and `text` is how the
    answer is made to begin ("" for none). `cut` names what a token budget removed."""

    task_id: str
    text: str
    messages: tuple[Message, ...] = ()
    cut: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The edited region that a completion stands for, or None and the reason why it stands for none. `cursor`: where the
    answer puts the cursor, an offset into the region, where its format can say so."""

    region: str | None
    malformed: str | None = None
    cursor: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer. `token_ids` includes the end token when there is one; `logprobs` are the engine's own, after
    temperature, one a token; `finish_reason` "length" means the token limit cut it. A server may give neither ids nor
    log-probabilities (both are empty then); `counted` is how many tokens it says that the answer has."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: Literal["stop", "length"]
    region: str | None = None
    malformed: str | None = None
    counted: int | None = None
    cursor: int | None = None

    @property
    def length(self) -> int:
        """Tokens of the answer; 0 where nobody knows."""
        return len(self.token_ids) if self.counted is None else self.counted


EQUAL_WITHIN = 1e-9
"""Rewards this near each other are one reward: equal scores that went through floats must not become advantages of +-1."""


@dataclass(frozen=True, slots=True)
class Advantages:
    """What an estimator returns for rewards (B, G). `values` (B, G); `baseline` (B,): what was subtracted; `low` and
    `high` (B,): the interval's ends where the estimator has one, else NaN. Float64."""

    values: np.ndarray
    baseline: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and its G completions. `components` name → (G,); `scores` (G,) is the reward before, `rewards` (G,)
    after the length penalty; NaN is a missing reward. `advantages` (G,), `baseline`, `low`, `high` once estimated.
    `sampled_at`: the step whose policy drew it."""

    task: EditTask
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]
    components: Mapping[str, np.ndarray]
    scores: np.ndarray
    rewards: np.ndarray
    advantages: np.ndarray | None = None
    baseline: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    sampled_at: int = 0
