"""What the command line's tests share: a few tasks as JSON lines, and the settings of the smallest run."""

from __future__ import annotations

import json
from pathlib import Path

TASKS_PER_SPLIT = 12


def write_tasks(path: Path) -> Path:
    """A JSON-lines file with `TASKS_PER_SPLIT` tasks in train and in eval; every edit is another one."""
    rows = []
    for split in ("train", "eval"):
        for number in range(TASKS_PER_SPLIT):
            excerpt = f"if {split}{number} == None:\n    pass\n"
            rows.append(
                {
                    "id": f"{split}-{number}",
                    "source": {"dataset": "made", "split": split},
                    "language": "python",
                    "path": "a.py",
                    "excerpt": excerpt,
                    "editable": [0, excerpt.index("    pass")],
                    "target": f"if {split}{number} is None:\n",
                    "labels": {"family": "is_none"},
                }
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def smallest(tasks: Path, model: Path) -> list[str]:
    """The settings of a run of two steps with a tiny model."""
    return [
        "experiment=debug",
        "data=jsonl", f"data.path={tasks}",
        "model=hf", f"model.path={model}", "model.context_length=256", "prompt=nano",
        "sampling.max_new_tokens=4", "sampling.group_size=2",
        "evaluation.tasks=4", "evaluation.samples=1",
        "trainer.threads=1",
    ]  # fmt: skip
