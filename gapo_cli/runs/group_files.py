"""Groups on disk: every completion as a row of a parquet file, and whole groups as JSON for the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gapo_cli.evaluation.predictions import family_of
from gapo_cli.records import Completion, EditTask, Group
from gapo_cli.storage.files import atomic_path


def write_groups(
    path: Path, step: int, groups: Sequence[Group], prompt_text: Callable[[Group], str], dropped: Sequence[bool] | None = None
) -> None:
    """One row a completion, group by group. `prompt_text` gives the prompt as the model read it. `dropped` marks the
    groups that dynamic sampling left out of the batch (None: none was)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    dropped = dropped if dropped is not None else [False] * len(groups)
    sizes = np.array([len(group.completions) for group in groups], dtype=np.int64)
    completions = [completion for group in groups for completion in group.completions]

    def per_group(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(np.repeat(np.arange(len(groups)), sizes)))

    def per_completion(arrays: Sequence[np.ndarray]) -> pa.Array:
        return pa.array(np.concatenate(arrays) if arrays else np.empty(0), pa.float64(), from_pandas=False)

    def text_of_task(name: str) -> pa.Array:
        return per_group([getattr(group.task, name) for group in groups], pa.string())

    columns = {
        "step": pa.array(np.full(len(completions), step, dtype=np.int32)),
        "group": per_group(np.arange(len(groups), dtype=np.int32), pa.int32()),
        "completion": pa.array(np.concatenate([np.arange(size, dtype=np.int32) for size in sizes] or [[]]), pa.int32()),
        "task_id": text_of_task("id"),
        "family": per_group([family_of(group.task) for group in groups], pa.string()),
        "language": text_of_task("language"),
        "path": text_of_task("path"),
        "prompt": per_group([prompt_text(group) for group in groups], pa.string()),
        "before": text_of_task("before"),
        "region_before": text_of_task("region"),
        "after": text_of_task("after"),
        "target": text_of_task("target"),
        "text": pa.array([completion.text for completion in completions], pa.string()),
        "region": pa.array([completion.region for completion in completions], pa.string()),
        "malformed": pa.array([completion.malformed for completion in completions], pa.string()),
        "finish_reason": pa.array([completion.finish_reason for completion in completions], pa.string()),
        "length": pa.array([completion.length for completion in completions], pa.int32()),
        "token_ids": pa.array([completion.token_ids for completion in completions], pa.list_(pa.int32())),
        "logprobs": pa.array([completion.logprobs for completion in completions], pa.list_(pa.float32())),
    }
    for name in groups[0].components if groups else ():
        columns[f"component_{name}"] = per_completion([group.components[name] for group in groups])
    advantages = [np.full(len(group.completions), np.nan) if group.advantages is None else group.advantages for group in groups]
    columns |= {
        "score": per_completion([group.scores for group in groups]),
        "reward": per_completion([group.rewards for group in groups]),
        "advantage": per_completion(advantages),
        "baseline": per_group([group.baseline for group in groups], pa.float64()),
        "low": per_group([group.low for group in groups], pa.float64()),
        "high": per_group([group.high for group in groups], pa.float64()),
        "dropped": per_group(list(dropped), pa.bool_()),
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def group_to_dict(group: Group) -> dict[str, Any]:
    """A JSON-ready dict of a group that has no advantages yet (NaN: missing reward). Floats keep every bit."""
    return {
        "task": group.task.to_dict(),
        "prompt_token_ids": list(group.prompt_token_ids),
        "completions": [asdict(completion) for completion in group.completions],
        "components": {name: values.tolist() for name, values in group.components.items()},
        "scores": group.scores.tolist(),
        "rewards": group.rewards.tolist(),
        "sampled_at": group.sampled_at,
    }


def group_from_dict(row: dict[str, Any]) -> Group:
    """The inverse of `group_to_dict`."""
    completions = tuple(
        Completion(**{**one, "token_ids": tuple(one["token_ids"]), "logprobs": tuple(one["logprobs"])})
        for one in row["completions"]
    )
    return Group(
        task=EditTask.from_dict(row["task"]),
        prompt_token_ids=tuple(row["prompt_token_ids"]),
        completions=completions,
        components={name: np.array(values, dtype=np.float64) for name, values in row["components"].items()},
        scores=np.array(row["scores"], dtype=np.float64),
        rewards=np.array(row["rewards"], dtype=np.float64),
        sampled_at=row["sampled_at"],
    )
