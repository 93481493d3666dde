"""One experiment as the stages get it, and the checks that need several of its parts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.checks import require
from gapo_cli.config.corruption import Corruption
from gapo_cli.config.data import DataConfig, PlanConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.config.sampling import EvaluationConfig, RolloutConfig, SamplingConfig
from gapo_cli.config.supervised import SupervisedConfig
from gapo_cli.config.trainer import GuardsConfig, OptimizerConfig, TrainerConfig
from gapo_cli.errors import is_gapos, part_at_work
from gapo_cli.interfaces import (
    CheckedEngine,
    Engine,
    Estimator,
    Learner,
    LookingBack,
    Perturbation,
    Reward,
    TaskSource,
    Template,
    TextEngine,
)
from gapo_cli.processes.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Experiment:
    """One run as the stages get it: built parts and typed sections, never a config tree."""

    verb: str
    seed: int
    run_dir: Path
    model: ModelConfig
    data: DataConfig
    source: TaskSource
    template: Template
    reward: Reward
    estimator: Estimator
    estimator_name: str
    algorithm: AlgorithmConfig
    sampling: SamplingConfig
    trainer: TrainerConfig
    supervised: SupervisedConfig
    evaluation: EvaluationConfig
    engine: Callable[..., Engine] | TextEngine
    """Called as engine(policy=LoadedModel); a TextEngine is there already."""
    learner: Learner
    resume: str | None = None
    dpo: PreferenceConfig = field(default_factory=PreferenceConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    perturbations: Mapping[str, Perturbation] = field(default_factory=dict)
    """By name; those that `evaluation.robustness` asks for."""
    corruption: Corruption | None = None
    """Of training rewards alone; None: they are as the reward gives them."""
    reward_on_error: str = "stop"
    """What a reward that fails does: stop the run, or leave its answers' rewards missing."""
    ranks: Ranks = ALONE
    """The processes that share the run, of which this is one."""

    def learner_at_work(self) -> contextlib.AbstractContextManager[None]:
        """A learner of the user's fails as any part of theirs does; an unforeseen error of one of gapo's own stays that."""
        return contextlib.nullcontext() if is_gapos(self.learner) else part_at_work("stage", self.learner)


def check_settings(experiment: Experiment) -> None:
    """Raises UserError for settings that no group can be learnt from with."""
    sampling = experiment.sampling
    trainer, algorithm = experiment.trainer, experiment.algorithm
    alone = sampling.group_size == 1
    require(
        not alone or algorithm.critic is not None,
        f"sampling.group_size={sampling.group_size}: need at least 2 to train, or a critic (algorithm=ppo), which compares an answer "
        "with no other",
    )
    require(
        not (alone and algorithm.dynamic_sampling),
        "algorithm.dynamic_sampling=true: drops groups of equal scores, as every group of sampling.group_size=1 is; need at least 2",
    )
    if algorithm.ppo is not None:
        algorithm.ppo.optimizer.check()
        warmup = algorithm.ppo.warmup_steps
        require(
            warmup < trainer.steps,
            f"algorithm.ppo.warmup_steps={warmup}: need fewer than trainer.steps={trainer.steps}, or the policy learns nothing",
        )
    check_sharing(experiment, trainer.optimizer)
    if trainer.shard:
        check_sharing_of_policy_gradient(algorithm)
    several_updates = trainer.epochs_per_step > 1 or trainer.prompts_per_mini_batch < trainer.prompts_per_step
    require(
        algorithm.importance_cap is None or not several_updates or trainer.recompute_logprobs is not False,
        f"algorithm.importance_cap={algorithm.importance_cap}: with several optimizer steps a rollout batch it needs "
        "trainer.recompute_logprobs=null or true, or there is nothing to compare the engine's log-probabilities with",
    )
    check_length_penalty(experiment)
    require(
        sampling.temperature > 0,
        f"sampling.temperature={sampling.temperature}: need above 0 to train, all completions are equal at 0",
    )


def check_sharing(experiment: Experiment, optimizer: OptimizerConfig) -> None:
    """Raises UserError for what cannot be where processes share the weights. `optimizer`: of the policy."""
    trainer = experiment.trainer
    if not trainer.shard:
        return
    require(
        (trainer.processes or experiment.ranks.count) > 1,
        "trainer.shard=true: one process has no other to share the weights with; give trainer.processes=N, or set it to false",
    )
    rank = experiment.model.lora.rank
    require(
        rank == 0,
        f"trainer.shard=true: is for training all weights; with model.lora.rank={rank} set it to false: each process holds the frozen "
        "base, with model.dtype=bfloat16 in half the memory",
    )
    require(
        optimizer.name == "adamw",
        f"trainer.shard=true: the moments of optimizer.name={optimizer.name} cannot be divided; need adamw, whose moments are",
    )


def check_sharing_of_policy_gradient(algorithm: AlgorithmConfig) -> None:
    """Raises UserError for what reinforcement learning cannot do where processes share the weights."""
    require(
        algorithm.critic is None,
        "trainer.shard=true: algorithm=ppo has a critic, which is not divided; set it to false, or take another algorithm",
    )
    reading = [name for name, term in algorithm.terms.items() if isinstance(term, LookingBack)]
    require(
        not reading,
        f"trainer.shard=true: algorithm.terms.{''.join(reading[:1])} reads weights that no process has whole; set it to false, or "
        "leave the term out",
    )


def check_length_penalty(experiment: Experiment) -> None:
    overlong, limit = experiment.algorithm.overlong, experiment.sampling.max_new_tokens
    require(
        overlong is None or overlong.buffer_tokens <= limit,
        f"algorithm.overlong.buffer_tokens={overlong and overlong.buffer_tokens}: need at most sampling.max_new_tokens={limit}",
    )


def check_engine(experiment: Experiment, samplings: Iterable[SamplingConfig]) -> None:
    """Asks an engine that can say so whether it can draw these samplings here, before a model is loaded for it. Raises
    UserError."""
    if isinstance(experiment.engine, CheckedEngine):
        with part_at_work("engine", experiment.engine):
            experiment.engine.check(list(samplings))
