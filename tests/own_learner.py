"""A learner of a user's own: it counts, and moves one weight by a drawn number a step."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

from gapo_cli.interfaces import LearnerWords
from gapo_cli.models.policy import load_policy
from gapo_cli.training.out_of_memory import no_advice


@dataclass(frozen=True)
class Counting:
    to: int = 4

    name: ClassVar = "counting"
    title: ClassVar = "counting"
    words: ClassVar = LearnerWords("count", "counting", "preparing", "counting at")
    samples: ClassVar = False
    keys: ClassVar = {}
    best_by: ClassVar = ("val/edit_similarity",)

    def check(self, experiment: Any) -> None: ...

    def starts_from_folder(self, experiment: Any) -> bool:
        return True

    def as_rl(self, experiment: Any) -> Any:
        return experiment

    def begin(self, run: Any) -> CountingLearning:
        with run.loading():
            policy = load_policy(run.starting_model, run.experiment.trainer)
        return CountingLearning(run, policy, self.to)


class CountingLearning:
    checkpoint_every, evaluate_every, finished = 1, 2, True

    def __init__(self, run: Any, policy: Any, to: int) -> None:
        self.policy, self.tasks, self.steps, self.extent = policy, run.tasks, to, f"{to} counts"
        self.held_out, self.engine, self.advise = run.encode_held_out(policy), run.start_engine(policy, no_advice), no_advice
        self.draws = random.Random(run.experiment.seed)

    def gather(self, step: int) -> int:
        return step * step

    def learn(self, step: int, gathered: int) -> dict[str, float]:
        number = self.draws.random()
        next(self.policy.model.parameters()).data.view(-1)[0] += number
        return {"counting/square": gathered, "counting/number": number}

    def values(self) -> dict[str, Any]:
        return {"draws": self.draws.getstate()}

    def tensors(self) -> dict[str, Any]:
        return {}

    def restore(self, checkpoint: Any, values: Any, tensors: Any) -> None:
        version, internal, gauss = values["draws"]
        self.draws.setstate((version, tuple(internal), gauss))

    def finish(self) -> None: ...
