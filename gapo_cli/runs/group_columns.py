"""What the columns of a rollout file must hold for a reader: what `write_groups` writes there.

A file may be edited, or made by something else, and keep the mark of a rollout file: the mark alone promises nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

ON_EVERY_ROW = frozenset({
    "step", "group", "completion", "task_id", "prompt", "text", "finish_reason", "length", "token_ids", "logprobs", "dropped",
    "sampled_at",
})  # fmt: skip
"""Columns without a missing value."""
NO_VALUES = "no values"


def fault_of_schema(there: pa.Schema, needed: pa.Schema) -> str | None:
    """Which of the `needed` columns is missing or holds something of another kind, None where all are right. Whole numbers pass
    as numbers, and any width of a number as another."""
    for field in needed:
        at = there.get_field_index(field.name)
        if at < 0:
            return f"column {field.name} is missing"
        held, kind = kind_of(there.field(at).type), kind_of(field.type)
        if held not in (kind, kind.replace("numbers", "whole numbers"), NO_VALUES):
            return f"column {field.name} holds {held}, need {kind}"
    return None


def fault_of_values(table: pa.Table) -> str | None:
    """Which column lacks a value that every row has, None where all are there."""
    lacking = (name for name in table.column_names if name in ON_EVERY_ROW and table[name].null_count)
    return next((f"column {name} lacks values" for name in lacking), None)


def task_of_infinite(table: pa.Table) -> str | None:
    """The task of the first answer with an infinite reward; None where there is none. A missing reward is NaN."""
    rows = np.flatnonzero(np.isinf(table["reward"].to_numpy())) if "reward" in table.column_names else ()
    return table["task_id"][int(rows[0])].as_py() if len(rows) else None


def kind_of(kind: pa.DataType) -> str:
    """In words what a column of this type holds."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"lists of {kind_of(kind.value_type)}"
    words = (
        ("whole numbers", pa.types.is_integer),
        ("numbers", pa.types.is_floating),
        ("text", lambda one: pa.types.is_string(one) or pa.types.is_large_string(one)),
        ("true or false", pa.types.is_boolean),
        (NO_VALUES, pa.types.is_null),
    )
    return next((name for name, is_such in words if is_such(kind)), str(kind))
