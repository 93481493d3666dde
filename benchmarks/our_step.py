"""A training step of this package out of the parts that its training loop is made of, for prompts that are tokens already.

Answers all have the full length, rewards are the completions' places in their group, nothing is evaluated or checkpointed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from endless import Endless
from measure import peak_since, reset_peak
from stopwatch import Steps, Stopwatch

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.interfaces import Estimator, QuietDisplay, Reward
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.reference import make_reference
from gapo_cli.records import EditTask, ParsedAnswer, Prompt, Source
from gapo_cli.rollouts.collect import Collector, RolloutBatch
from gapo_cli.rollouts.data_order import DataOrder
from gapo_cli.rollouts.encoding import EncodedTask
from gapo_cli.rollouts.engine_agreement import check_engine_logprobs
from gapo_cli.rollouts.metrics import rollout_metrics
from gapo_cli.runs.run_files import RunFiles
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate

TASK = EditTask("benchmark", Source("benchmark", "train", 0), "python", "a.py", "", (0, 0), "")


class Verbatim:
    """A template for prompts that are there already."""

    def render(self, task: EditTask) -> Prompt:
        return Prompt(task.id, task.excerpt)

    def parse(self, task: EditTask, text: str) -> ParsedAnswer:
        return ParsedAnswer(text)


@dataclass(frozen=True)
class RankReward:
    """The completion's place in its group: what is rewarded plays no part in what a step costs."""

    group_size: int

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        return {"score": self.scores(len(predictions))}

    def scores(self, count: int) -> np.ndarray:
        return np.resize(np.arange(self.group_size) / self.group_size, count)


class GivenRewards:
    """The rewards of groups that a run sampled, a group a step, from the first again after the last."""

    def __init__(self, groups: Sequence[Sequence[float]]) -> None:
        self.groups = itertools.cycle(groups)

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        return {"score": np.array(next(self.groups))}


class OurStep:
    """`step` makes one, with all of `prompts`, and notes what it took in `steps`."""

    def __init__(
        self,
        loaded: LoadedModel,
        config: ModelConfig,
        prompts: Sequence[tuple[int, ...]],
        sampling: SamplingConfig,
        algorithm: AlgorithmConfig,
        optimizer: OptimizerConfig,
        folder: Path,
        max_tokens_per_microbatch: int = 4096,
        reward: Reward | None = None,
        estimator: Estimator | None = None,
    ) -> None:
        """`reward`: RankReward where not given; `estimator`: GRPO."""
        self.policy = Endless.of(loaded)
        self.algorithm = algorithm
        trainer = TrainerConfig(
            steps=1_000, prompts_per_step=len(prompts), prompts_per_mini_batch=len(prompts), optimizer=optimizer,
            recompute_logprobs=False, max_tokens_per_microbatch=max_tokens_per_microbatch,
        )  # fmt: skip
        self.engine = TorchEngine(self.policy, max_rows=len(prompts) * sampling.group_size)
        self.optimizer = Optimizer(self.policy.model.parameters(), optimizer, trainer.steps)
        reference = make_reference(self.policy, config, "float32", at_start=True) if algorithm.needs_reference else None
        self.updater = PolicyUpdate(self.policy, reference, self.optimizer, algorithm, trainer, sampling.temperature)
        self.collector = Collector(
            engine=self.engine, template=Verbatim(), reward=reward or RankReward(sampling.group_size), estimator=estimator or GRPO(),
            algorithm=algorithm, sampling=sampling, tasks=[EncodedTask(TASK, Prompt(TASK.id, ""), prompt) for prompt in prompts],
            order=DataOrder(len(prompts), 0), prompts_per_step=len(prompts), seed=0,
        )  # fmt: skip
        self.files = RunFiles(folder)
        self.steps, self.watch = Steps(), Stopwatch()
        self.watch.watch(self.engine, "generate", "rollouts")
        self.watch.watch(self.updater, "logprobs", "reference pass")
        self.watch.watch(self.updater, "accumulate", "forward and backward")
        self.watch.watch(self.optimizer, "step", "optimizer")

    def rollouts(self, step: int) -> RolloutBatch:
        return self.collector.collect(step)

    def step(self, step: int) -> None:
        before = reset_peak()
        self.watch.spent.clear()  # of what else was done with these parts
        cpu, wall = time.process_time(), time.perf_counter()
        batch = self.rollouts(step)
        agreement = check_engine_logprobs(self.engine, self.policy, batch.generated, self.updater.temperature, None)
        learnt = self.updater.update(batch.groups, [True] * len(batch.groups))
        self.engine.sync(self.policy)
        self.files.write_rollouts(batch.step, batch.groups, batch.dropped, self.policy.tokenizer.decode)
        self.files.record({"step": step, "time_s": 0.0, **rollout_metrics(batch), **agreement, **learnt}, QuietDisplay())
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.steps.add(cpu, wall, self.watch.lap(cpu), peak_since(before))
