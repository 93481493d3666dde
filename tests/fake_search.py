"""A launcher that trains nothing: it leaves in the jobs' folders what real runs of a search would, so that a whole search takes no
time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parts import TASKS_PER_SPLIT, edit_task

from gapo_cli.evaluation.predictions import predicted_region
from gapo_cli.evaluation.summary import summarise
from gapo_cli.runs.run_files import RunFiles
from gapo_cli.runs.sweep_plan import PlannedJob, SweepPlan, folder_of

SPACE = """\
about: made up
space:
  trainer.optimizer.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
  algorithm.clip_high: [0.2, 0.3]
objectives: {val/exact_match: max, seconds: min}
population: 4
each: 2
budget: 24
"""


class Killed(BaseException):
    """Stands for a process that ends without a word."""


def exact_match_of(words: Mapping[str, str]) -> float:
    """Higher with the learning rate."""
    return min(0.9, 100 * float(words.get("trainer.optimizer.learning_rate", "0.003")))


@dataclass
class FakeLaunch:
    """`fails`: numbers of jobs that fail; `killed_after`: so many jobs are done before the process is killed in the next."""

    fails: Sequence[int] = ()
    killed_after: int | None = None
    value: Callable[[Mapping[str, str]], float] = exact_match_of
    seconds: float = 10.0
    ran: list[PlannedJob] = field(default_factory=list)

    def __call__(self, hydra: object, folder: Path, plan: SweepPlan, jobs: Sequence[PlannedJob], *, quiet: bool) -> None:
        for job in jobs:
            run = folder_of(folder, job)
            run.mkdir(parents=True, exist_ok=True)
            ended = {"status": "running", "seconds": 0.0, "error": None, "details": None}
            (run / "outcome.json").write_text(json.dumps(ended))
            if len(self.ran) == self.killed_after:
                raise Killed
            self.ran.append(job)
            words = dict(word.split("=", 1) for word in (*plan.overrides, *job.overrides))
            if job.number in self.fails:
                ended |= {"status": "failed", "error": "diverged"}
            else:
                ended |= {"status": "done", "seconds": self.seconds}
                self.measure(run, words) if words["verb"] == "eval" else self.train(run, words)
            (run / "outcome.json").write_text(json.dumps(ended))

    def train(self, run: Path, words: Mapping[str, str]) -> None:
        steps = int(words["trainer.steps"])
        rows = [
            {"step": 0, "val/exact_match": 0.1},
            {"step": steps, "val/exact_match": self.value(words), "time_s": self.seconds},
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (run / "checkpoints" / f"step-{steps:05d}").mkdir(parents=True, exist_ok=True)

    def measure(self, run: Path, words: Mapping[str, str]) -> None:
        right = round(self.value(words) * TASKS_PER_SPLIT)
        predictions = [
            predicted_region(edit_task(number), "a = c\n" if number < right else "wrong\n") for number in range(TASKS_PER_SPLIT)
        ]
        RunFiles(run).write_evaluation(0, predictions, summarise(predictions), {})
