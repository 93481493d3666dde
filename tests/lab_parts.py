"""Rollouts as parquet files with chosen rewards."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapo_cli.runs.group_files import VERSION, VERSION_KEY


def write_rewards(path: Path, rewards: np.ndarray, step: int = 0, dropped=None) -> Path:
    """rewards (P, N), NaN = missing."""
    groups, completions = rewards.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "step": np.full(rewards.size, step, dtype=np.int32),
        "group": np.repeat(np.arange(groups, dtype=np.int32), completions),
        "completion": np.tile(np.arange(completions, dtype=np.int32), groups),
        "task_id": [f"task-{group}" for group in np.repeat(np.arange(groups), completions)],
        "length": np.full(rewards.size, 5, dtype=np.int32),
        "reward": rewards.ravel(),
        "advantage": np.zeros(rewards.size),
        "dropped": np.repeat(np.zeros(groups, dtype=bool) if dropped is None else dropped, completions),
    }
    pq.write_table(pa.table(columns).replace_schema_metadata({VERSION_KEY: VERSION}), path)
    return path


def pool_rewards(prompts: int = 30, completions: int = 64, seed: int = 0) -> np.ndarray:
    """Right answers earn 1, others something between 0 and a half, in sixty-fourths."""
    generator = np.random.default_rng(seed)
    right = generator.random((prompts, completions)) < generator.uniform(0.1, 0.9, (prompts, 1))
    return np.where(right, 1.0, generator.integers(0, 33, (prompts, completions)) / 64)


def spread_rewards(path: Path) -> None:
    """Gives a group's completions the rewards 0, 1/4, 1/2, 3/4, 0, ... in a file of whole rollouts: what a tiny model earns is all alike."""
    table = pq.read_table(path)
    rewards = pa.array(table["completion"].to_numpy() % 4 / 4)
    schema = table.schema
    pq.write_table(
        table.set_column(schema.get_field_index("reward"), "reward", rewards).replace_schema_metadata(schema.metadata), path
    )
