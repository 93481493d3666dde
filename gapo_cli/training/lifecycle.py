"""The RL loop: collect a rollout batch, learn from it, look at held-out tasks every so often, keep all of it on disk.

What is random is drawn from seeds made of (experiment seed, step, place), and a checkpoint holds all else that the next
step depends on, so a run that was stopped or killed at any moment and resumed equals one that was not (bit for bit on a
CPU, clocks excepted: `run_files.repeatable`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.config.trainer import GuardsConfig, TrainerConfig
from gapo_cli.errors import CheckpointError, NotFiniteError, StorageError, UserError
from gapo_cli.interfaces import Display, Engine, Estimator, Reward, SleepingEngine, Template
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.usable_layout import usable_layout
from gapo_cli.records import Group
from gapo_cli.rollouts.collect import Collector, Position, RolloutBatch
from gapo_cli.rollouts.data_order import DataOrder
from gapo_cli.rollouts.encoding import EncodedTask
from gapo_cli.rollouts.engine_agreement import check_engine_logprobs, recomputes_logprobs
from gapo_cli.rollouts.metrics import rollout_metrics
from gapo_cli.runs.run_files import RunFiles
from gapo_cli.training.checkpoints.checkpoints import (
    Checkpoints,
    TrainerState,
    check_tasks,
    hash_of_tasks,
    load_state,
    steps_of,
    together,
    under,
)
from gapo_cli.training.checkpoints.random_state import random_tensors, random_values, restore_random
from gapo_cli.training.guards import CollapseWatch, SkipGuard, TooManySkipped, skipped_sentence
from gapo_cli.training.held_out import HeldOut, better
from gapo_cli.training.interrupts import interrupts_wait
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.out_of_memory import Advise, memory_watched, no_advice

STAGE = "rl"


@dataclass(frozen=True)
class Parts:
    """All that a run is made of. `reference`: the frozen starting model where KL is asked for, else None; `tasks`: what
    is trained on, all of it fitting the context; `held_out`: what is evaluated on; `advise`: what to say where memory runs
    out."""

    run_dir: Path
    seed: int
    policy: LoadedModel
    reference: Any
    engine: Engine
    template: Template
    reward: Reward
    estimator: Estimator
    algorithm: AlgorithmConfig
    sampling: SamplingConfig
    trainer: TrainerConfig
    evaluation: EvaluationConfig
    tasks: Sequence[EncodedTask]
    held_out: Sequence[EncodedTask]
    display: Display
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    advise: Advise = no_advice


@dataclass(frozen=True)
class TrainingOutcome:
    """How a run ended. `checkpoint`, `best`: None where none was written; `interrupted`: stopped by Ctrl-C after `step`
    whole steps."""

    step: int
    checkpoint: Path | None
    best: Path | None
    interrupted: bool


@dataclass
class TrainingLoop:
    """One run. `resume_from` a checkpoint, or not, then `run`."""

    parts: Parts
    step: int = 0
    best: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        parts = self.parts
        recompute = recomputes_logprobs(parts.trainer, parts.algorithm, parts.engine)
        layout, notice = usable_layout(parts.trainer.layout, parts.policy)
        if notice is not None:
            parts.display.say(notice)
        trainer = replace(parts.trainer, recompute_logprobs=recompute, layout=layout)
        mini_batches = -(-trainer.prompts_per_step // trainer.prompts_per_mini_batch)
        total_updates = trainer.steps * trainer.epochs_per_step * mini_batches
        self.optimizer = Optimizer(parts.policy.model.parameters(), trainer.optimizer, total_updates)
        self.updater = PolicyUpdate(
            parts.policy, parts.reference, self.optimizer, parts.algorithm, trainer, parts.sampling.temperature,
            SkipGuard(parts.guards.skipped_in_a_row),
        )  # fmt: skip
        self.watch = CollapseWatch(parts.guards)
        self.collector = Collector(
            engine=parts.engine,
            template=parts.template,
            reward=parts.reward,
            estimator=parts.estimator,
            algorithm=parts.algorithm,
            sampling=parts.sampling,
            tasks=parts.tasks,
            order=DataOrder(len(parts.tasks), parts.seed),
            prompts_per_step=trainer.prompts_per_step,
            seed=parts.seed,
        )
        self.files = RunFiles(parts.run_dir)
        self.checkpoints = Checkpoints(parts.run_dir, trainer.keep_checkpoints)
        self.started = time.monotonic()
        self.pending: dict[str, float] | None = None
        self.half_updated = False
        self.saved: int | None = None
        self.held_out = HeldOut(parts.held_out, parts.template, parts.evaluation, parts.sampling, parts.seed, self.files)
        self._remember()

    def run(self) -> TrainingOutcome:
        """Goes on to `trainer.steps`. Ctrl-C ends it early with a checkpoint of the last whole step; so does a UserError
        of generating or scoring, memory that runs out among them, which is then raised."""
        interrupted = False
        try:
            if self.pending is not None:
                self._finish_step()
            elif self.step == 0:
                self._finish_step_zero()
            while self.step < self.parts.trainer.steps:
                self._train_step(self.step + 1)
                self._finish_step()
        except KeyboardInterrupt:
            interrupted = True
            self._stop()
        except UserError as error:
            if isinstance(error, NotFiniteError):
                if self.pending is not None:
                    self.files.record(self.pending, self.parts.display)
                self.parts.display.say(
                    f"stopped after step {self.step} of {self.parts.trainer.steps}: {self.checkpoints.newest_in_words()}"
                )
            elif not isinstance(error, CheckpointError | StorageError):  # where nothing can be written, nor can a checkpoint
                self._stop()
            raise
        steps = steps_of(self.checkpoints.folder)
        return TrainingOutcome(
            step=self.step,
            checkpoint=self.checkpoints.path(steps[-1]) if steps else None,
            best=self.checkpoints.best.folder if self.checkpoints.best.folder.is_dir() else None,
            interrupted=interrupted,
        )

    def resume_from(self, checkpoint: Path, *, may_be_done: bool = False) -> None:
        """Takes up the state of a verified checkpoint, whose model the policy was loaded from. What the run wrote after
        it is taken back. Raises CheckpointError where the checkpoint is of other tasks or another seed, or leaves nothing
        to do and `may_be_done` does not say that this is fine (a run that was killed after its last step)."""
        state = load_state(checkpoint, STAGE)
        values, say = state.values, self.parts.display.say
        check_tasks(checkpoint, values["task_ids"], [one.task for one in self.parts.tasks])
        if values["step"] >= self.parts.trainer.steps and values["pending"] is None and not may_be_done:
            raise CheckpointError(
                f"resume={checkpoint}: all trainer.steps={self.parts.trainer.steps} steps are done; give more of them to go on"
            )
        self.collector.restore(Position.from_dict(values["position"]))
        self.optimizer.restore(under("optimizer", state.tensors), values["updates"])
        restore_random(values["random"], under("random", state.tensors))
        self.step, self.best, self.pending = values["step"], values["best"], values["pending"]
        self.saved = self.step
        self.updater.guard.in_a_row = values["guards"]["skipped_in_a_row"]
        self.watch.restore(values["guards"]["watch"])
        self.started = time.monotonic() - values["seconds"]
        for sentence in self.checkpoints.go_back_to(self.step, state.best):
            say(f"resuming from step {self.step}: {sentence}")
        # one row a step from step 0 on; a pending one was written without its evaluation: it comes again
        self.files.forget_after(self.step, rows=self.step + (self.pending is None))
        if not self.checkpoints.best.folder.is_dir():
            self.best = None
        self.parts.engine.sync(self.parts.policy)
        self._remember()

    def start_over(self) -> None:
        """Removes what an earlier try of this run has written, which no whole checkpoint is left of."""
        for sentence in self.checkpoints.go_back_to(0, best=None):
            self.parts.display.say(f"starting over: {sentence}")
        self.files.forget_after(-1, rows=0)

    def _train_step(self, step: int) -> None:
        parts, started = self.parts, time.perf_counter()
        parts.display.progress("training", step - 1, parts.trainer.steps)
        with memory_watched(f"sampling for step {step}", "rollout", parts.advise):
            batch = self.collector.collect(step, parts.display.progress)
            agreement = check_engine_logprobs(
                parts.engine, parts.policy, batch.generated, parts.sampling.temperature, parts.trainer.logprob_tolerance
            )
        if isinstance(parts.engine, SleepingEngine):
            parts.engine.sleep()
        with interrupts_wait():
            updating = time.perf_counter()
            self.half_updated = True
            with memory_watched(f"learning in step {step}", "update", parts.advise):
                learnt = self._learn(batch)
            with memory_watched(f"giving the engine the weights of step {step}", "rollout", parts.advise):
                parts.engine.sync(parts.policy)
            row = {"step": step, "time_s": 0.0, **rollout_metrics(batch), **agreement, **learnt}
            row["timing_s/update_actor"] = time.perf_counter() - updating
            self.step, self.pending, self.half_updated = step, row, False
            self._remember()
            for sentence in self.watch.look(row):
                parts.display.say(sentence)
            self.files.write_rollouts(batch.step, batch.groups, batch.dropped, parts.policy.tokenizer.decode)
            row["timing_s/step"] = time.perf_counter() - started
            row["perf/throughput"] = _tokens(batch.groups) / row["timing_s/step"]
            row["time_s"] = time.monotonic() - self.started
        parts.display.progress("training", step, parts.trainer.steps)

    def _learn(self, batch: RolloutBatch) -> dict[str, float]:
        try:
            return self.updater.update(batch.groups, [group.sampled_at == batch.step for group in batch.groups])
        except TooManySkipped as stop:
            path = self.files.write_for_inspection(batch.step, stop.batch, self.parts.policy.tokenizer.decode)
            raise UserError(skipped_sentence(stop.steps, f"step {batch.step}", path)) from stop

    def _finish_step_zero(self) -> None:
        self.pending = {"step": 0, "time_s": 0.0}
        self._finish_step()

    def _finish_step(self) -> None:
        """The evaluation where one is due, the step's row, the checkpoint where one is due."""
        row = dict(self.pending or {})
        if self._evaluation_due():
            started = time.perf_counter()
            with memory_watched(f"evaluating after step {self.step}", "rollout", self.parts.advise):
                row |= self.held_out.evaluate(self.step, self.parts.policy, self.parts.engine, self.parts.display.progress)
            row["timing_s/testing"] = time.perf_counter() - started
            row["time_s"] = time.monotonic() - self.started
        with interrupts_wait():
            self.pending = None
            self._keep_best(row)
            self.files.record(row, self.parts.display)
            if self._checkpoint_due():
                self._save()

    def _evaluation_due(self) -> bool:
        every = self.parts.evaluation.every_steps
        return self.step in (0, self.parts.trainer.steps) or (every > 0 and self.step % every == 0)

    def _checkpoint_due(self) -> bool:
        """Not where Ctrl-C has saved this step before its evaluation: that checkpoint makes the evaluation again."""
        trainer = self.parts.trainer
        return self.step not in (0, self.saved) and (self.step % trainer.checkpoint_every == 0 or self.step == trainer.steps)

    def _keep_best(self, row: dict[str, float]) -> None:
        best = better(row, self.step, self.best)
        if best is not None:
            self.best = best
            self.checkpoints.save_best(self.parts.policy, best)

    def _remember(self) -> None:
        """Where the run stands between two steps: what a checkpoint of the last whole step is made of."""
        self.position = self.collector.position
        self.random_values, self.random_tensors = random_values(), random_tensors()

    def _save(self) -> Path:
        tensors = together(optimizer=self.optimizer.tensors(), random=self.random_tensors)
        values = {
            "step": self.step,
            "seed": self.parts.seed,
            "task_ids": hash_of_tasks([one.task for one in self.parts.tasks]),
            "position": self.position.to_dict(),
            "updates": self.optimizer.updates,
            "random": self.random_values,
            "best": self.best,
            "pending": self.pending,
            "guards": {"skipped_in_a_row": self.updater.guard.in_a_row, "watch": self.watch.to_dict()},
            "seconds": time.monotonic() - self.started,
        }
        best = None if self.best is None else self.best["step"]
        folder = self.checkpoints.save(self.step, self.parts.policy, TrainerState(STAGE, tensors, values, best))
        self.saved = self.step
        return folder

    def _stop(self) -> None:
        """A checkpoint of the last whole step, and a word about it."""
        say, total = self.parts.display.say, self.parts.trainer.steps
        if self.half_updated:
            say(f"stopped in the middle of step {self.step + 1} of {total}: {self.checkpoints.newest_in_words()}")
            return
        if self.step == 0:
            say("stopped before the first step was done: there is nothing to resume")
            return
        with interrupts_wait():
            if self.pending is not None:
                self.files.record(self.pending, self.parts.display)
            if self.saved != self.step:
                self._save()
        say(
            f"stopped after step {self.step} of {total}: saved {self.checkpoints.path(self.step)}; go on with resume={self.parts.run_dir}"
        )


def _tokens(groups: Sequence[Group]) -> int:
    """Prompt and completion tokens, a prompt counted once for each of its completions, as in verl's perf/throughput."""
    return sum(len(group.prompt_token_ids) + len(one.token_ids) for group in groups for one in group.completions)
