"""What an edit log records: mostly not the finished edit.

Telemetry sees a developer's file at some later moment: the edit may not have been made yet, may have been made in part,
or more may have been typed. The paper is about rewards that such data skews; a base model taught on it answers like it.
"""

from __future__ import annotations

import random

from gapo_cli.config.supervised import EditLogConfig
from gapo_cli.records import EditTask

CUT_AT = 2 / 3  # of the words: enough to have begun, not enough to be right


def logged_outcome(task: EditTask, log: EditLogConfig, seed: int) -> str:
    """The region's text as the log has it: the target or, by chance fixed for the task and seed, a worse one."""
    generator = random.Random(f"{seed}/{task.id}")
    if generator.random() < log.finished:
        return task.target
    kind = generator.choices(("undone", "runs_on", "cut_short"), (log.undone, log.runs_on, log.cut_short))[0]
    if kind == "undone":
        return task.region
    if kind == "runs_on":
        lines = (task.after or task.target).splitlines(keepends=True)
        return task.target + "".join(lines[:1])
    words = task.target.split(" ")
    return " ".join(words[: max(1, int(len(words) * CUT_AT))])
