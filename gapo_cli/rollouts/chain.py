"""The way from encoded tasks to groups with advantages: sample, parse, score, penalise, estimate.

Training (`Collector`) and `gapo rollout` go it whole, so that equal samples have equal rewards and advantages in both;
evaluation (`validation`) goes its first half, `sampling`, and measures otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gapo_cli.config.algorithm import OverlongConfig
from gapo_cli.config.corruption import Corruption
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Engine, Estimator, Progress, Reward, Template, TextEngine, no_progress
from gapo_cli.records import EditTask, Group
from gapo_cli.rollouts.advantages import with_advantages
from gapo_cli.rollouts.corrupted import corrupted
from gapo_cli.rollouts.encoding import EncodedTask
from gapo_cli.rollouts.sampling import Sampled, SampledTexts, sample_encoded, sample_texts
from gapo_cli.rollouts.scoring import Failures, failures_of, penalised, score


@dataclass(frozen=True)
class Chain:
    """The parts that the steps need. `overlong`: the length penalty, None for none. `failures`: as in `score`."""

    template: Template
    sampling: SamplingConfig
    reward: Reward
    overlong: OverlongConfig | None
    estimator: Estimator
    failures: Failures | None = None

    @classmethod
    def of(cls, experiment: Experiment, say: Callable[[str], None]) -> Chain:
        """`say`: where failures of the reward are told, with reward.on_error=missing."""
        return cls(
            experiment.template,
            experiment.sampling,
            experiment.reward,
            experiment.algorithm.overlong,
            experiment.estimator,
            failures_of(experiment.reward_on_error, say),
        )

    def sample(
        self, engine: Engine, encoded: Sequence[EncodedTask], seeds: Sequence[int], progress: Progress = no_progress
    ) -> list[Sampled]:
        """Completions with their regions read, one group for each of `encoded`."""
        return sample_encoded(engine, self.template, encoded, self.sampling, seeds, progress)

    def sample_texts(
        self,
        engine: TextEngine,
        tasks: Sequence[EditTask],
        seeds: Sequence[int],
        journal: Path,
        progress: Progress = no_progress,
    ) -> SampledTexts:
        """As `sample`, of an engine that needs no policy."""
        return sample_texts(engine, self.template, tasks, self.sampling, seeds, journal, progress)

    def score(
        self, sampled: Sequence[Sampled], sampled_at: int, corruption: Corruption | None = None, seeds: Sequence[int] = ()
    ) -> list[Group]:
        """Groups with scores and, the length penalty taken off, rewards. `corruption`: training's, which needs the `seeds` that
        the groups were sampled with. Raises PartError for a reward that fails."""
        groups = score(sampled, self.reward, self.failures)
        if corruption is not None:
            groups = [corrupted(group, corruption, seed) for group, seed in zip(groups, seeds, strict=True)]
        return [
            replace(penalised(group, self.overlong, self.sampling.max_new_tokens), sampled_at=sampled_at) for group in groups
        ]

    def estimate(self, groups: Sequence[Group]) -> list[Group]:
        """The groups with advantages, baselines and intervals."""
        return with_advantages(groups, self.estimator)
