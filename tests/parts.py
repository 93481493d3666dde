"""What many tests share: edit tasks, templates, engines and loops made of small parts, and the smallest run by command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.records import Completion, EditTask, ParsedAnswer, Prompt, Source

EOS = 1


def edit_task(number: int, region: str = "a = b\n", target: str = "a = c\n", family: str = "rename") -> EditTask:
    excerpt = f"x = {number}\n{region}"
    return EditTask(
        id=f"task-{number}",
        source=Source("made up", "train", number),
        language="python",
        path="made/up.py",
        excerpt=excerpt,
        editable=(len(excerpt) - len(region), len(excerpt)),
        target=target,
        labels={"family": family},
    )


class PlainTemplate:
    """The excerpt is the prompt, the region the answer; an answer with a question mark in it is malformed."""

    def render(self, task: EditTask) -> Prompt:
        return Prompt(task.id, task.excerpt + ">")

    def answer(self, task: EditTask, region: str) -> str:
        return region

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        return ParsedAnswer(None, "question") if "?" in text else ParsedAnswer(text)


class LengthReward:
    """The number of characters in tenths: what a scripted answer earns can be read off its text. "nan" is missing."""

    def __call__(self, predictions: Sequence[str | None], targets: Sequence[str]) -> dict[str, np.ndarray]:
        scores = np.array([0 if one is None else np.nan if one == "nan" else len(one) / 10 for one in predictions])
        return {"characters": scores * 10, "score": scores}


@dataclass
class ScriptedEngine:
    """Gives each prompt the next answers of `script`, over and over; remembers prompts, seeds and samplings."""

    script: Sequence[Sequence[str]]
    calls: list[tuple[list, SamplingConfig, list[int]]] = field(default_factory=list)
    said: int = 0

    def generate(self, prompts, sampling, seeds, progress=None):
        self.calls.append((list(prompts), sampling, list(seeds)))
        groups = []
        for _ in prompts:
            answers = self.script[self.said % len(self.script)]
            self.said += 1
            groups.append(tuple(completion_of(answers[index % len(answers)]) for index in range(sampling.group_size)))
        return groups

    def sync(self, policy) -> None: ...


def completion_of(text: str, logprob: float = -1.0, finish_reason: str = "stop") -> Completion:
    """A completion as the tiny byte-level tokenizer would write it: printable ASCII only."""
    ids = tuple(ord(character) - 33 + 2 for character in text)
    ids += (EOS,) if finish_reason == "stop" else ()
    return Completion(ids, (logprob,) * len(ids), text, finish_reason)


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
