"""Recorded answers in place of a model: rollouts are scored again, with another reward or estimator, and nothing is loaded.

An answer is what was recorded, its region included. Temperature and the like are those of the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gapo_cli.config.checks import require
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Progress, RecordedPrompt, no_progress
from gapo_cli.records import Completion, EditTask, Prompt
from gapo_cli.runs.recorded import RecordedGroups


@dataclass(frozen=True)
class Replay:
    """`path`: a rollouts parquet, or the folder of a `gapo rollout` or a `gapo train`. Of a task that was sampled in several
    steps the last answers count. A group may be smaller than the recorded one: then its first completions are taken."""

    path: Path

    def check(self, samplings: Sequence[SamplingConfig]) -> None:
        """Raises UserError for a path without rollouts, and for greedy answers, which no recording has."""
        require(bool(self._recorded.places), f"engine.path={self.path}: holds no group; name other rollouts")
        require(
            all(sampling.temperature > 0 for sampling in samplings),
            "engine=replay: the recorded answers were sampled, none is greedy; set a temperature above 0 (in gapo eval "
            "evaluation.greedy=false)",
        )

    def generate_texts(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        seeds: Sequence[int],
        journal: Path,
        progress: Progress = no_progress,
    ) -> list[tuple[Completion, ...] | None]:
        """The first `sampling.group_size` recorded completions for each prompt's task; `seeds` and `journal` are not needed.
        Raises UserError where there are no or too few of them, or where they are longer than `sampling.max_new_tokens`."""
        answers: list[tuple[Completion, ...] | None] = []
        for number, prompt in enumerate(prompts, start=1):
            answers.append(self._answers(prompt.task_id, sampling))
            progress("replaying", number, len(prompts))
        return answers

    def recorded_task_ids(self) -> list[str]:
        return list(self._recorded.places)

    def recorded_task(self, task_id: str) -> EditTask:
        return self._recorded[task_id].group.task

    def recorded_prompt(self, task_id: str) -> RecordedPrompt:
        stored = self._recorded[task_id]
        return RecordedPrompt(stored.prompt, stored.group.prompt_token_ids)

    def _answers(self, task_id: str, sampling: SamplingConfig) -> tuple[Completion, ...]:
        completions = self._recorded[task_id].group.completions
        if len(completions) < sampling.group_size:
            raise UserError(
                f"sampling.group_size={sampling.group_size}: only {len(completions)} answers to task {task_id} are recorded in "
                f"{self.path}; need at most that many"
            )
        longest = max(completion.length for completion in completions[: sampling.group_size])
        if longest > sampling.max_new_tokens:
            raise UserError(
                f"sampling.max_new_tokens={sampling.max_new_tokens}: an answer to task {task_id} in {self.path} has {longest} tokens; "
                "give the value that it was recorded with"
            )
        return completions[: sampling.group_size]

    @cached_property
    def _recorded(self) -> RecordedGroups:
        return RecordedGroups(self.path)
