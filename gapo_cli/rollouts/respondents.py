"""Who answers tasks in a rollout: a policy that is loaded here, a served model, or a recording. All are asked part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from gapo_cli.errors import DataError
from gapo_cli.interfaces import Engine, Progress, RecordedEngine, TextEngine, no_progress
from gapo_cli.records import EditTask, Group, Prompt
from gapo_cli.rollouts.chain import Chain
from gapo_cli.rollouts.encoding import EncodedTask
from gapo_cli.rollouts.sampling import Sampled
from gapo_cli.seeds import derived_seed

STEP = 0
"""Rollouts of a model that nothing is learnt from: step 0."""


class Respondent(Protocol):
    """`sample` answers the tasks numbered `start` to `end` of all `len()` of them; a task that does not fit a server's
    context is left out. `prompt_text` is the prompt of a group of the last part, as the model read it."""

    def __len__(self) -> int: ...

    def sample(self, start: int, end: int, progress: Progress = no_progress) -> list[Sampled]: ...

    def prompt_text(self, group: Group) -> str: ...


@dataclass(frozen=True)
class PolicyHere:
    """An engine with the policy's weights; `decode` makes a text of a prompt's token ids."""

    engine: Engine
    chain: Chain
    tasks: Sequence[EncodedTask]
    seed: int
    decode: Callable[[Sequence[int]], str]

    def __len__(self) -> int:
        return len(self.tasks)

    def sample(self, start: int, end: int, progress: Progress = no_progress) -> list[Sampled]:
        return self.chain.sample(self.engine, self.tasks[start:end], seeds_of(self.seed, start, end), progress)

    def prompt_text(self, group: Group) -> str:
        return self.decode(group.prompt_token_ids)


@dataclass
class ServedModel:
    """A model on a server, whose answers are kept in `journal` as they come. `on_long`: stop, or skip tasks that do not fit
    the server's context; `sample` raises DataError for the first such task where it says stop."""

    engine: TextEngine
    chain: Chain
    tasks: Sequence[EditTask]
    seed: int
    journal: Path
    on_long: str
    prompts: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tasks)

    def sample(self, start: int, end: int, progress: Progress = no_progress) -> list[Sampled]:
        asked = self.chain.sample_texts(
            self.engine, self.tasks[start:end], seeds_of(self.seed, start, end), self.journal, progress
        )
        if asked.too_long and self.on_long == "stop":
            raise DataError(
                f"task {asked.too_long[0].id}: its prompt and sampling.max_new_tokens={self.chain.sampling.max_new_tokens} do not fit "
                f"the served model's context, and so it is for {len(asked.too_long)} of the {end - start} tasks asked with it; shorten "
                "them with prompt.budget or leave them out with data.on_long=skip"
            )
        self.prompts = {one.task.id: shown(one.prompt) for one in asked.sampled}
        return list(asked.sampled)

    def prompt_text(self, group: Group) -> str:
        return self.prompts.get(group.task.id, "")  # none where the answers could not be read


@dataclass(frozen=True)
class Recording:
    """Answers that were recorded, with their tasks and prompts."""

    engine: RecordedEngine
    chain: Chain
    task_ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.task_ids)

    def sample(self, start: int, end: int, progress: Progress = no_progress) -> list[Sampled]:
        tasks = [self.engine.recorded_task(task_id) for task_id in self.task_ids[start:end]]
        asked = self.chain.sample_texts(self.engine, tasks, [0] * len(tasks), Path(), progress)
        return [replace(one, prompt_token_ids=self.engine.recorded_prompt(one.task.id).token_ids) for one in asked.sampled]

    def prompt_text(self, group: Group) -> str:
        return self.engine.recorded_prompt(group.task.id).text


def seeds_of(seed: int, start: int, end: int) -> list[int]:
    return [derived_seed(seed, STEP, index) for index in range(start, end)]


def shown(prompt: Prompt) -> str:
    """A prompt as it is kept beside its answers; what a server's chat template makes of messages is not known here."""
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt.messages) or prompt.text
