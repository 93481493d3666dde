"""Reinforcement learning from rollouts (stage=rl): a step samples groups of answers, scores them and learns from their advantages.

How a rollout batch is filled is told in `gapo_cli.rollouts.collect`, what is done with it in `policy_update`. What is random is drawn
from seeds made of (experiment seed, step, place), so the place in the task order and the groups that wait are all that a step
depends on beside the weights.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.engines import calls
from gapo_cli.experiment import Experiment, check_engine, check_settings
from gapo_cli.interfaces import Engine, LearnerWords
from gapo_cli.metric_names import TOKENS_COMPUTED
from gapo_cli.models.critic import Critic, make_critic
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.policy import load_policy
from gapo_cli.models.reference import make_reference
from gapo_cli.models.usable_layout import usable_layout
from gapo_cli.records import Group
from gapo_cli.rollouts.collect import Collector, Position, RolloutBatch
from gapo_cli.rollouts.data_order import DataOrder
from gapo_cli.rollouts.encoding import EncodedTask, encode_tasks, fit_training_tasks, limit_in_words
from gapo_cli.rollouts.engine_agreement import check_engine_logprobs, recomputes_logprobs
from gapo_cli.rollouts.metrics import rollout_metrics
from gapo_cli.rollouts.scoring import failures_of
from gapo_cli.runs.group_files import decoded_prompt
from gapo_cli.training.checkpoints.checkpoints import together, under
from gapo_cli.training.held_out import BEST_BY, HeldOut
from gapo_cli.training.learners.actor_critic import ActorCriticUpdate, before_the_critic
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.planned_rollouts import in_memory, outline_of_rollouts
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.out_of_memory import Advise, memory_watched
from gapo_cli.training.outline import MeasuredTasks, Outline
from gapo_cli.training.run_context import RunContext

CRITIC, CRITIC_OPTIMIZER = "critic", "critic_optimizer"
"""Of tensors in a checkpoint."""


@dataclass(frozen=True)
class PolicyGradient:
    """stage=rl, a `gapo_cli.interfaces.Learner`: GAPO, GRPO, DAPO and PPO, as `estimator` and `algorithm` say."""

    name: ClassVar[str] = "rl"
    title: ClassVar[str] = "reinforcement learning"
    words: ClassVar[LearnerWords] = LearnerWords()
    samples: ClassVar[bool] = True
    keys: ClassVar[Mapping[str, str]] = {}
    best_by: ClassVar[Sequence[str]] = BEST_BY

    def check(self, experiment: Experiment) -> None:
        self.check_settings(experiment)
        experiment.trainer.optimizer.check()
        evaluated = experiment.evaluation.samplings(experiment.sampling).values()
        check_engine(experiment, [*evaluated, experiment.sampling])

    def check_settings(self, experiment: Experiment) -> None:
        check_settings(experiment)

    def starts_from_folder(self, experiment: Experiment) -> bool:
        return True

    def unread(self, experiment: Experiment) -> Mapping[str, str]:
        """A `gapo_cli.interfaces.SelectiveLearner`."""
        return dict.fromkeys(["supervised", "dpo", *(["estimator"] if experiment.algorithm.critic else [])], "")

    def as_rl(self, experiment: Experiment) -> Experiment:
        return experiment

    def outline(self, experiment: Experiment, measured: MeasuredTasks) -> Outline:
        return outline_of_rollouts(experiment, measured)

    def begin(self, run: RunContext) -> PolicyGradientLearning:
        """The policy is the checkpoint's where there is one; the KL reference is the starting model in any case."""
        experiment, kind = run.experiment, run.experiment.algorithm.critic
        reference = None
        with run.loading():
            policy = load_policy(run.starting_model, experiment.trainer)
            critic = None if kind is None else make_critic(policy, kind)
            if experiment.algorithm.needs_reference:
                reference = make_reference(
                    policy, experiment.model, experiment.trainer.reference_dtype, at_start=run.checkpoint is None
                )
        tasks = fitting_tasks(run, policy)
        advise = run.advice(experiment, policy, lambda: in_memory(experiment, [len(one.token_ids) for one in tasks]))
        engine = run.start_engine(policy, advise)
        return PolicyGradientLearning(run, policy, reference, critic, engine, tasks, run.encode_held_out(policy), advise)


def fitting_tasks(run: RunContext, policy: LoadedModel) -> Sequence[EncodedTask]:
    """The training tasks, tokenised; those that do not fit the context are left out and counted, or refused, as `data.on_long`
    says. Raises DataError."""
    experiment, say = run.experiment, run.display.say
    context, answer = experiment.model.context_length, experiment.sampling.max_new_tokens
    encoded = encode_tasks(policy, experiment.template, run.tasks, run.display.progress)
    fitted = fit_training_tasks(encoded, context, answer, experiment.data.on_long)
    if fitted.too_long:
        say(
            f"left out {len(fitted.too_long)} of {len(run.tasks)} training tasks that do not fit "
            + limit_in_words(experiment.template, context)
        )
    budget = experiment.trainer.max_tokens_per_microbatch
    # the last token of an answer is a label only
    beyond = sum(len(one.token_ids) + answer - 1 > budget for one in fitted.kept) if budget else 0
    if beyond:
        say(
            f"trainer.max_tokens_per_microbatch={budget}: {beyond} of {len(fitted.kept)} training prompts with a "
            f"{answer}-token answer exceed the limit; each such answer gets its own micro-batch"
        )
    return fitted.kept


@dataclass(frozen=True)
class Gathered:
    """A rollout batch, how far the engine that sampled it agrees with the trainer, and when sampling began."""

    batch: RolloutBatch
    agreement: Mapping[str, float]
    began: float


class PolicyGradientLearning:
    """A `gapo_cli.interfaces.Learning`. `reference`: the frozen starting model where KL is asked for, else None; `critic`: gives the
    advantages, None: the estimator does; `tasks`: all of them fit the context."""

    def __init__(
        self,
        run: RunContext,
        policy: LoadedModel,
        reference: torch.nn.Module | None,
        critic: Critic | None,
        engine: Engine,
        tasks: Sequence[EncodedTask],
        held_out: HeldOut,
        advise: Advise,
    ) -> None:
        experiment, ppo = run.experiment, run.experiment.algorithm.ppo
        self.run, self.policy, self.engine, self.held_out, self.advise = run, policy, engine, held_out, advise
        self.sampling, self.trainer = experiment.sampling, self._usable(experiment.trainer)
        self.tasks = [one.task for one in tasks]
        self.steps, self.checkpoint_every = self.trainer.steps, self.trainer.checkpoint_every
        self.extent = f"trainer.steps={self.steps} steps"
        self.ended_at: int | None = None
        self.evaluate_every = experiment.evaluation.every_steps
        self.warmup = 0 if ppo is None else ppo.warmup_steps
        total_updates = (self.steps - self.warmup) * self.trainer.updates_per_step
        self.optimizer = Optimizer(policy.model.parameters(), self.trainer.optimizer, total_updates, run.ranks)
        self.updater = PolicyUpdate(
            policy,
            reference,
            self.optimizer,
            experiment.algorithm,
            self.trainer,
            self.sampling.temperature,
            run.guard,
            ranks=run.ranks,
        )
        self.with_critic: ActorCriticUpdate | None = None
        if critic is not None:
            critics = Optimizer(critic.weights().values(), ppo.optimizer, self.steps * self.trainer.updates_per_step, run.ranks)
            self.with_critic = ActorCriticUpdate(self.updater, critic, critics, ppo)
        self.collector = Collector(
            engine=engine,
            template=experiment.template,
            reward=experiment.reward,
            estimator=experiment.estimator if critic is None else before_the_critic,
            algorithm=experiment.algorithm,
            sampling=self.sampling,
            tasks=tasks,
            order=DataOrder(len(tasks), experiment.seed),
            prompts_per_step=self.trainer.prompts_per_step,
            seed=experiment.seed,
            corruption=experiment.corruption,
            failures=failures_of(experiment.reward_on_error, run.display.say),
            ranks=run.ranks,
        )

    def _usable(self, trainer: TrainerConfig) -> TrainerConfig:
        """The settings with what they leave open decided for this policy and this engine."""
        recompute = recomputes_logprobs(trainer, self.run.experiment.algorithm, self.engine)
        layout, notice = usable_layout(trainer.layout, self.policy)
        if notice is not None:
            self.run.display.say(notice)
        return replace(trainer, recompute_logprobs=recompute, layout=layout)

    def gather(self, step: int) -> Gathered:
        began = time.perf_counter()
        batch = self.collector.collect(step, self.run.display.progress)
        agreement = check_engine_logprobs(
            self.engine, self.policy, batch.generated, self.sampling.temperature, self.trainer.logprob_tolerance
        )
        calls.sleep(self.engine)
        return Gathered(batch, agreement, began)

    def learn(self, step: int, gathered: Gathered) -> dict[str, float]:
        batch, began = gathered.batch, time.perf_counter()
        fresh = [group.sampled_at == step for group in batch.groups]
        with self.updater.count.added_up(self.run.ranks):
            if self.with_critic is None:
                learnt = self.updater.update(batch.groups, fresh)
            else:
                learnt, groups = self.with_critic.update(batch.groups, fresh, warming=step <= self.warmup)
                batch = replace(batch, groups=groups)
        with memory_watched(f"giving the engine the weights of step {step}", "rollout", self.advise):
            calls.sync(self.engine, self.policy)
        self._count(step, batch)
        row = {**rollout_metrics(batch), **gathered.agreement, **learnt, TOKENS_COMPUTED: self.updater.count.tokens}
        row["timing_s/update_actor"] = time.perf_counter() - began
        self.run.files.write_rollouts(step, batch.groups, batch.dropped, self.policy.tokenizer.decode)
        row["timing_s/step"] = time.perf_counter() - gathered.began
        row["perf/throughput"] = tokens_of(batch.groups) / row["timing_s/step"]
        return row

    def _count(self, step: int, batch: RolloutBatch) -> None:
        """Ends the run with this step where it has computed all its tokens."""
        count, budget = self.updater.count, self.trainer.budget_tokens
        count.sampled(batch.generated)
        if budget is not None and count.tokens >= budget and step < self.steps:
            self.run.display.say(f"trainer.budget_tokens={budget} are computed: step {step} is the last")
            self._end_at(step)

    def _end_at(self, step: int) -> None:
        self.ended_at = self.steps = step
        self.extent = f"steps of trainer.budget_tokens={self.trainer.budget_tokens}"
        self.run.files.write_learner(self.run.experiment.learner, step)

    def keep_for_inspection(self, step: int, batch: Sequence[Group]) -> Path:
        return self.run.files.write_for_inspection(step, batch, decoded_prompt(self.policy.tokenizer.decode))

    def values(self) -> dict[str, Any]:
        values = {
            "position": self.collector.position.to_dict(),
            "updates": self.optimizer.updates,
            "computed_tokens": self.updater.count.tokens,
            "ended_at": self.ended_at,
        }
        return values if self.with_critic is None else values | {"critic_updates": self.with_critic.optimizer.updates}

    def tensors(self) -> dict[str, torch.Tensor]:
        groups = {"optimizer": self.optimizer.tensors()}
        if self.with_critic is not None:
            groups |= {CRITIC: self.with_critic.critic.tensors(), CRITIC_OPTIMIZER: self.with_critic.optimizer.tensors()}
        return together(**groups)

    def restore(self, checkpoint: Path, values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        self.collector.restore(Position.from_dict(values["position"]))
        self.optimizer.restore(under("optimizer", tensors), values["updates"])
        self.updater.count.tokens = values["computed_tokens"]
        budget = self.trainer.budget_tokens
        if values["ended_at"] is not None and budget is not None and values["computed_tokens"] >= budget:
            self._end_at(values["ended_at"])
        if self.with_critic is not None:
            self.with_critic.critic.restore(under(CRITIC, tensors), checkpoint)
            self.with_critic.optimizer.restore(under(CRITIC_OPTIMIZER, tensors), values["critic_updates"])

    def finish(self) -> None:
        """The last checkpoint is the trained model."""

    @property
    def finished(self) -> bool:
        return True


def tokens_of(groups: Sequence[Group]) -> int:
    """Prompt and completion tokens, a prompt counted once for each of its completions, as in verl's perf/throughput."""
    return sum(len(group.prompt_token_ids) + len(one.token_ids) for group in groups for one in group.completions)
