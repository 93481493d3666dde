"""The files that a training run writes step by step: metrics, rollouts and evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.evaluation.predictions import Prediction
from gapo_cli.evaluation.summary import Breakdown, Summary
from gapo_cli.interfaces import Display, Learner
from gapo_cli.metric_names import CLOCKS
from gapo_cli.processes.ranks import ALONE, Ranks, by_first
from gapo_cli.records import EditTask, Group
from gapo_cli.runs.group_files import decoded_prompt, write_groups
from gapo_cli.runs.layout import EVALUATIONS, INSPECTION, LEARNER, METRICS, ROLLOUTS, step_name, steps_in
from gapo_cli.storage.files import append_jsonl, atomic_path, parse_row, remove_temporaries, sync, write_json, write_jsonl


class RunFiles:
    """One run's folder. Of several `ranks` the first alone writes, and all get what a method returns."""

    def __init__(self, run_dir: Path, ranks: Ranks = ALONE) -> None:
        self.run_dir, self.ranks = run_dir, ranks
        self.metrics = run_dir / METRICS

    @by_first
    def write_learner(self, learner: Learner, steps: int) -> None:
        """What reports must know of the learner; `steps`: how many it will make."""
        known = {"stage": learner.name, "title": learner.title, "unit": learner.words.unit, "steps": steps}
        write_json(self.run_dir / LEARNER, known | {"samples": learner.samples})

    @by_first
    def write_rollouts(
        self, step: int, groups: Sequence[Group], dropped: Sequence[Group], decode: Callable[[Sequence[int]], str]
    ) -> None:
        """The groups that the step learns from, then those that dynamic sampling dropped in it."""
        write_groups(
            self._numbered(ROLLOUTS, step, "parquet"),
            step,
            [*groups, *dropped],
            decoded_prompt(decode),
            [False] * len(groups) + [True] * len(dropped),
        )

    def inspection(self, step: int) -> Path:
        """The file for the batch of a step that stopped the run."""
        return self._numbered(INSPECTION, step, "parquet")

    @by_first
    def write_for_inspection(self, step: int, groups: Sequence[Group], prompt_text: Callable[[Group], str]) -> Path:
        """The groups that a guard, or a part that failed, stopped the run for. They stay when the run is resumed. `prompt_text`: as
        in `write_groups`."""
        path = self.inspection(step)
        write_groups(path, step, groups, prompt_text)
        return path

    @by_first
    def write_examples(self, step: int, tasks: Sequence[EditTask], texts: Sequence[tuple[str, str]]) -> Path:
        """The tasks of a supervised batch that a guard stopped the run for, with prompt and answer as the model was shown."""
        import pandas as pd

        path = self.inspection(step)
        prompts, answers = zip(*texts, strict=True)
        with atomic_path(path) as temporary:
            pd.DataFrame({"task_id": [task.id for task in tasks], "prompt": prompts, "answer": answers}).to_parquet(
                temporary, index=False
            )
        return path

    @by_first
    def write_evaluation(
        self, step: int, predictions: Sequence[Prediction], summary: Summary, baselines: Mapping[str, Breakdown]
    ) -> tuple[Path, Path]:
        """The numbers as JSON and every answer as parquet; returns the two paths."""
        import pandas as pd

        numbers, answers = self._numbered(EVALUATIONS, step, "json"), self._numbered(EVALUATIONS, step, "parquet")
        # column by column: a dict of every prediction would take longer than measuring them
        columns = {field.name: [getattr(one, field.name) for one in predictions] for field in fields(Prediction)}
        with atomic_path(answers) as temporary:
            pd.DataFrame(columns).to_parquet(temporary, index=False)
        measured = {name: breakdown.to_dict() for name, breakdown in baselines.items()}
        write_json(numbers, {"step": step, **summary.to_dict(), "baselines": measured})
        return numbers, answers

    @by_first
    def record(self, row: Mapping[str, float], display: Display) -> None:
        """Keeps a row of metrics and shows it."""
        append_jsonl(self.metrics, dict(row))
        sync(self.metrics)  # the checkpoint that comes after must not outlive it in a power cut
        display.metrics(row)

    @by_first
    def rows(self) -> int:
        """How many rows the metrics have."""
        return len(_whole_rows(self.metrics)) if self.metrics.is_file() else 0

    @by_first
    def forget_after(self, step: int, rows: int) -> None:
        """Takes back what was written beyond `step`, where a resumed run goes on, the metrics beyond the first `rows`, and
        what a killed writer has left half done."""
        remove_temporaries(self.run_dir)
        if self.metrics.is_file():
            write_jsonl(self.metrics, _whole_rows(self.metrics)[:rows])
        for folder in (ROLLOUTS, EVALUATIONS):
            remove_temporaries(self.run_dir / folder)
            for suffix in (".json", ".parquet"):
                for number, path in steps_in(self.run_dir / folder, suffix).items():
                    if number > step:
                        path.unlink()

    def _numbered(self, folder: str, step: int, suffix: str) -> Path:
        return self.run_dir / folder / f"{step_name(step)}.{suffix}"


def repeatable(row: Mapping[str, float]) -> dict[str, float]:
    """A row of metrics without what is read off a clock: what a run with the same settings, or a resumed one, repeats bit
    for bit."""
    return {name: value for name, value in row.items() if not name.startswith(CLOCKS)}


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; a torn last line, which a killed process can leave, is passed over. Raises DataError for another
    line that is none."""
    whole, found, _ = path.read_bytes().rpartition(b"\n")
    rows = []
    for number, line in enumerate((whole + found).splitlines(), start=1):
        try:
            rows += [parse_row(line)] if line.strip() else []
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}; the run cannot go on with it: mend the line, or remove it") from error
    return rows
