"""What many tests share: edit tasks, templates, engines, experiments and displays made of small parts, and the smallest run by
command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.data import DataConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.config.supervised import SupervisedConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.records import Completion, EditTask, Group, HistoryEvent, ParsedAnswer, Prompt, Source

if TYPE_CHECKING:
    from gapo_cli.training.run_context import RunContext

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


def small_task(
    name: str = "t",
    region: str = "a\n",
    target: str = "b\n",
    *,
    diffs: Sequence[str] = (),
    before: str = "",
    after: str = "",
    split: str = "train",
    family: str | None = None,
    **fields: Any,
) -> EditTask:
    """A task of a few lines in a.py. `diffs`: the edits of its history, in a.py too; `fields`: any others of EditTask."""
    given = {
        "id": name,
        "source": Source("made", split),
        "language": "python",
        "path": "a.py",
        "excerpt": before + region + after,
        "editable": (len(before), len(before + region)),
        "target": target,
        "history": tuple(HistoryEvent("edit", "a.py", diff) for diff in diffs),
        "labels": {"family": family} if family else {},
    }
    return EditTask(**given | fields)


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

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
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


class Listening(QuietDisplay):
    """Keeps what is said, the rows of metrics and the progress that is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.rows: list[Mapping[str, float]] = []
        self.told: list[tuple[str, int, int]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def metrics(self, row: Mapping[str, float]) -> None:
        self.rows.append(row)

    def progress(self, what: str, done: int, total: int) -> None:
        self.told.append((what, done, total))


OPTIMIZER = OptimizerConfig(learning_rate=1e-3, warmup_steps=2)


def make_experiment(run_dir: Path, model: ModelConfig, **parts: Any) -> Experiment:
    """A small experiment of stage=rl with `model`; `parts` take the place of its parts and sections."""
    from gapo_cli.engines.torch_engine import TorchEngine
    from gapo_cli.training.learners.policy_gradient import PolicyGradient

    given = {
        "verb": "train",
        "seed": 0,
        "run_dir": run_dir,
        "model": model,
        "data": DataConfig("made up", run_dir.parent / "data"),
        "source": None,
        "template": PlainTemplate(),
        "reward": LengthReward(),
        "estimator": GAPO(tau=0.5),
        "estimator_name": "gapo",
        "algorithm": AlgorithmConfig("grpo"),
        "sampling": SamplingConfig(group_size=4, max_new_tokens=8),
        "trainer": TrainerConfig(2, prompts_per_step=4, prompts_per_mini_batch=2, optimizer=OPTIMIZER),
        "supervised": SupervisedConfig(tokens=400, tokens_per_batch=128, optimizer=OPTIMIZER),
        "evaluation": EvaluationConfig(samples=2),
        "engine": lambda policy: TorchEngine(policy, max_rows=64),
        "learner": PolicyGradient(),
    }
    return Experiment(**given | parts)


def run_of(
    experiment: Experiment,
    tasks: Sequence[EditTask],
    held_out: Sequence[EditTask] = (),
    checkpoint: Path | None = None,
    display: QuietDisplay | None = None,
) -> RunContext:
    """A run of `experiment` in its own folder."""
    from gapo_cli.training.run_context import RunContext

    return RunContext(experiment, experiment.run_dir, tasks, held_out, display or QuietDisplay(), checkpoint)


def assert_same_groups(found: Sequence[Group], expected: Sequence[Group]) -> None:
    """Equal in every field, arrays bit for bit: NaN equals NaN, and 0.0 is not -0.0."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for name in (one.name for one in fields(Group)):
            mine, other = getattr(ours, name), getattr(theirs, name)
            if name == "components":
                assert list(mine) == list(other)
                assert all(mine[key].tobytes() == other[key].tobytes() for key in mine)
            elif isinstance(other, np.ndarray | float):
                assert np.asarray(mine).tobytes() == np.asarray(other).tobytes(), name
            else:
                assert mine == other, name


TASKS_PER_SPLIT = 12


def write_tasks(path: Path, rejected: bool = False, splits: Sequence[str] = ("train", "eval")) -> Path:
    """A JSON-lines file with `TASKS_PER_SPLIT` tasks in each of `splits`; every edit is another one. `rejected`: each task
    rejects its region as it stands."""
    rows = []
    for split in splits:
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
                    **({"rejected": [f"if {split}{number} == None:\n"]} if rejected else {}),
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
