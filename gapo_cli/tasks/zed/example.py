"""One example of Zed's `ep` tool as it stands in a file, and its JSON form.

The Markdown form (gapo_cli/tasks/zed/markdown.py) holds the same fields. What a task has and the format has no place for
stands under `gapo`: a JSON key, and in Markdown a section of its own, which other readers pass over.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.tasks.row_schema import Array, Check, OrNull, anything, flag, text

OURS = "gapo"
SLIP = 0.8
"""Likeness of two names from which one is the other with a slip of the finger: expected_patch and expected_patches have 0.93."""


@dataclass(frozen=True)
class Example:
    """`cursor_position`: the excerpt with the cursor's marker in it. `edit_history` and `uncommitted_diff`: unified diffs.
    `expected_patches`: each is as right as the others; none, or empty ones: nothing should be predicted. `rest`: the other
    fields as they stand. `ours`: what of a task the format has no place for."""

    cursor_path: str
    cursor_position: str
    name: str = ""
    repository_url: str = ""
    revision: str = ""
    edit_history: str = ""
    expected_patches: tuple[str, ...] = ()
    rejected_patch: str | None = None
    uncommitted_diff: str = ""
    uncommitted_diff_contains_edit_history: bool = False
    rest: Mapping[str, Any] = field(default_factory=dict)
    ours: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {name: getattr(self, name) for name in CHECKS}
        row["expected_patches"] = list(self.expected_patches)
        row = {name: value for name, value in row.items() if value not in ("", None, False) or name in ALWAYS}
        return row | dict(self.rest) | ({OURS: dict(self.ours)} if self.ours else {})

    @classmethod
    def from_json(cls, row: Any) -> Example:
        """Raises DataError naming the field that is missing, misspelt or of another type. Other fields are kept as they are."""
        if not isinstance(row, Mapping):
            raise DataError("need a JSON object with an example's fields")
        for name in row:
            if meant := meant_by(name, (*CHECKS, *OTHERS, OURS), row):
                raise DataError(f"field '{name}' is unknown; did you mean {meant}?")
        for name in ("cursor_path", "cursor_position"):
            if not row.get(name):
                raise DataError(f"field '{name}' is missing or empty")
        values: dict[str, Any] = {}
        for name, check in CHECKS.items():
            if row.get(name) is not None:
                check(name, row[name])
                values[name] = tuple(row[name]) if name == "expected_patches" else row[name]
        anything(OURS, row.get(OURS) or {})
        rest = {key: value for key, value in row.items() if key not in CHECKS and key != OURS}
        return cls(**values, rest=rest, ours=row.get(OURS) or {})


def meant_by(name: str, known: Collection[str], given: Container[str]) -> str | None:
    """The known name that an unknown one is a slip of; None where there is none, or it is given too."""
    near = () if name in known else difflib.get_close_matches(name, known, n=1, cutoff=SLIP)
    return near[0] if near and near[0] not in given else None


CHECKS: Mapping[str, Check] = {
    "name": text,
    "repository_url": text,
    "revision": text,
    "cursor_path": text,
    "cursor_position": text,
    "edit_history": text,
    "expected_patches": Array(text),
    "rejected_patch": OrNull(text),
    "uncommitted_diff": text,
    "uncommitted_diff_contains_edit_history": flag,
}
OTHERS = ("tags", "reasoning", "recently_opened_files", "recently_viewed_files", "telemetry", "human_feedback", "rating",
          "prompt_inputs", "prompt", "predictions", "score", "qa", "zed_version")  # fmt: skip
"""What else Zed writes; later versions may write more."""
ALWAYS = ("name", "repository_url", "revision", "edit_history")
"""Written even where they are empty: other readers ask for them."""
