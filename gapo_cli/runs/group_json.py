"""Groups as JSON, for the checkpoint: those that wait for the next step."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from gapo_cli.records import Completion, EditTask, Group


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
