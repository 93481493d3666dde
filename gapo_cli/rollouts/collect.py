"""One rollout batch: draw tasks, sample groups, score them, and, with dynamic sampling, go on until the batch is full.

Dynamic sampling is DAPO's (arXiv:2503.14476): a group whose scores are all equal teaches nothing and is dropped. Where
DAPO's code throws away what the last round gave too many, here those groups wait for the next step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.corruption import Corruption
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Engine, Estimator, Progress, Reward, Template, no_progress
from gapo_cli.processes.ranks import ALONE, Ranks
from gapo_cli.records import EQUAL_WITHIN, Group
from gapo_cli.rollouts.advantages import spread
from gapo_cli.rollouts.chain import Chain
from gapo_cli.rollouts.data_order import DataOrder
from gapo_cli.rollouts.encoding import EncodedTask
from gapo_cli.rollouts.scoring import Failures
from gapo_cli.runs.group_json import group_from_dict, group_to_dict
from gapo_cli.seeds import derived_seed


@dataclass(frozen=True, slots=True)
class Position:
    """Where a collector stands between two steps: the place in the task order and the groups that wait."""

    order: dict[str, int]
    waiting: tuple[Group, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN stands for a missing reward. `from_dict` is the inverse."""
        return {"order": self.order, "waiting": [group_to_dict(group) for group in self.waiting]}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Position:
        return cls(row["order"], tuple(map(group_from_dict, row["waiting"])))


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """What one step learns from. `groups` have advantages; `generated` are all groups sampled in this step, the
    `dropped` and the still waiting ones included. `seconds`: gen, reward, adv."""

    step: int
    groups: tuple[Group, ...]
    generated: tuple[Group, ...]
    dropped: tuple[Group, ...]
    rounds: int
    waiting: int
    seconds: dict[str, float]


@dataclass
class Collector:
    """Makes rollout batches. `order` and `waiting` (the surplus of the last round) are its only state;
    a `collect` that raises leaves `order` moved: restore the `position` from before. Of several `ranks`, whose `engine` gives all of
    them all answers, the first scores and estimates: a reward may cost, and need not give the same twice."""

    engine: Engine
    template: Template
    reward: Reward
    estimator: Estimator
    algorithm: AlgorithmConfig
    sampling: SamplingConfig
    tasks: Sequence[EncodedTask]
    order: DataOrder
    prompts_per_step: int
    seed: int
    waiting: tuple[Group, ...] = ()
    corruption: Corruption | None = None
    failures: Failures | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self.chain = Chain(self.template, self.sampling, self.reward, self.algorithm.overlong, self.estimator, self.failures)

    @property
    def position(self) -> Position:
        return Position(self.order.state, self.waiting)

    def restore(self, position: Position) -> None:
        """Goes to where `position` was taken. Raises CheckpointError where it belongs to other tasks or another seed."""
        self.order.restore(position.order)
        self.waiting = position.waiting

    def collect(self, step: int, progress: Progress = no_progress) -> RolloutBatch:
        """Raises UserError where all rewards of a round are missing, or where the batch is not full after
        `max_generation_rounds`."""
        seconds = {"gen": 0.0, "reward": 0.0, "adv": 0.0}
        kept = list(self.waiting)
        generated: list[Group] = []
        dropped: list[Group] = []
        rounds = 0
        while len(kept) < self.prompts_per_step:
            if rounds == self.algorithm.max_generation_rounds:
                raise UserError(self._not_full(len(kept), generated, dropped))
            for group in self._round(step, len(generated), seconds, progress):
                generated.append(group)
                teaches = not self.algorithm.dynamic_sampling or spread(group.scores) > EQUAL_WITHIN
                (kept if teaches else dropped).append(group)
            rounds += 1
        self.waiting = tuple(kept[self.prompts_per_step :])
        kept = kept[: self.prompts_per_step]
        started = time.perf_counter()
        # dropped groups get their advantages too: they are kept on disk beside the others
        estimated = self.ranks.from_first(lambda: self.chain.estimate(kept + dropped))
        seconds["adv"] = time.perf_counter() - started
        return RolloutBatch(
            step=step,
            groups=tuple(estimated[: len(kept)]),
            generated=tuple(generated),
            dropped=tuple(estimated[len(kept) :]),
            rounds=rounds,
            waiting=len(self.waiting),
            seconds=seconds,
        )

    def _round(self, step: int, already: int, seconds: dict[str, float], progress: Progress) -> list[Group]:
        chosen = [self.tasks[index] for index in self.order.draw(self.prompts_per_step)]
        seeds = [derived_seed(self.seed, step, already + index) for index in range(len(chosen))]
        started = time.perf_counter()
        sampled = self.chain.sample(self.engine, chosen, seeds, progress)
        generated = time.perf_counter()
        groups = self.ranks.from_first(
            lambda: self.chain.score(sampled, sampled_at=step, corruption=self.corruption, seeds=seeds)
        )
        seconds["gen"] += generated - started
        seconds["reward"] += time.perf_counter() - generated
        if all(np.isnan(group.rewards).all() for group in groups):
            raise UserError(
                f"reward={type(self.reward).__name__}: all {len(groups) * self.sampling.group_size} rewards of step {step} are "
                f"missing (NaN); need at least one number to learn from, look at what it says about task {groups[0].task.id}"
            )
        return groups

    def _not_full(self, kept: int, generated: Sequence[Group], dropped: Sequence[Group]) -> str:
        mean = float(np.nanmean([group.scores for group in generated]))
        return (
            f"algorithm.max_generation_rounds={self.algorithm.max_generation_rounds}: {len(generated)} prompts gave only {kept} of "
            f"the {self.prompts_per_step} groups whose scores differ ({len(dropped)} dropped, mean score {mean:.3f}); "
            + ("the tasks are too easy" if mean > 0.5 else "the tasks are too hard")
            + " for this model: change the data, raise sampling.group_size or algorithm.max_generation_rounds, lower "
            "trainer.prompts_per_step, or set algorithm.dynamic_sampling=false"
        )
