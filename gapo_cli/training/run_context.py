"""What the life of a run and its learner share: the experiment with its folder, and the run's own clock, guard and files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gapo_cli.config.model import ModelConfig
from gapo_cli.engines import calls
from gapo_cli.engines.divided import divided
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display, Engine
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.processes.ranks import Ranks
from gapo_cli.records import EditTask
from gapo_cli.rollouts.encoding import encode_tasks
from gapo_cli.rollouts.validation import select_tasks
from gapo_cli.runs.run_files import RunFiles
from gapo_cli.training.guards import SkipGuard
from gapo_cli.training.held_out import HeldOut
from gapo_cli.training.out_of_memory import Advise, memory_watched, no_advice
from gapo_cli.training.outline import AsGroups


class Clock:
    """Seconds that a run has taken: by the wall and of this machine's processors, those before it was resumed included."""

    def __init__(self) -> None:
        self.restore({"seconds": 0.0, "cpu_seconds": 0.0})

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def cpu_seconds(self) -> float:
        return time.process_time() - self._cpu_started

    def values(self) -> dict[str, float]:
        """JSON-ready; `restore` is the inverse."""
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}

    def restore(self, values: dict[str, Any]) -> None:
        self._started = time.monotonic() - values["seconds"]
        self._cpu_started = time.process_time() - values["cpu_seconds"]


Advice = Callable[[Experiment, LoadedModel, Callable[[], AsGroups]], Advise]
"""Makes what a run says where its memory runs out."""


def no_advice_for(experiment: Experiment, policy: LoadedModel, as_groups: Callable[[], AsGroups]) -> Advise:
    return no_advice


@dataclass(frozen=True)
class RunContext:
    """One run: its `experiment`; `run_dir`, which may be an earlier run's; `checkpoint`, None for the beginning; the `tasks` to
    learn from and the `held_out` ones. `while_loading` and `advice`: what to say where memory runs out before there is a model,
    and after. `files` is the only place that a learner writes to."""

    experiment: Experiment
    run_dir: Path
    tasks: Sequence[EditTask]
    held_out: Sequence[EditTask]
    display: Display
    checkpoint: Path | None = None
    while_loading: Advise = no_advice
    advice: Advice = no_advice_for
    files: RunFiles = field(init=False)
    clock: Clock = field(init=False)
    guard: SkipGuard = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", RunFiles(self.run_dir, self.ranks))
        object.__setattr__(self, "clock", Clock())
        object.__setattr__(self, "guard", SkipGuard(self.experiment.guards.skipped_in_a_row))

    @property
    def ranks(self) -> Ranks:
        return self.experiment.ranks

    @property
    def starting_model(self) -> ModelConfig:
        """The checkpoint's model where there is one, else the experiment's."""
        model = self.experiment.model
        return model if self.checkpoint is None else replace(model, path=str(self.checkpoint))

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        with memory_watched("loading the model", "loading", self.while_loading):
            yield

    def encode_held_out(self, policy: LoadedModel) -> HeldOut:
        """The tasks of `held_out` that evaluations ask, tokenised."""
        experiment = self.experiment
        tasks = select_tasks(self.held_out, experiment.evaluation.tasks)
        encoded = encode_tasks(policy, experiment.template, tasks, self.display.progress)
        return HeldOut(encoded, experiment.template, experiment.evaluation, experiment.sampling, experiment.seed, self.files)

    def start_engine(self, policy: LoadedModel, advise: Advise) -> Engine:
        with memory_watched("starting the engine", "rollout", advise):
            return divided(calls.start(self.experiment.engine, policy), self.ranks)
