"""The supervised loop: one optimizer step a batch, in an order that is fixed by the seed, resumable between any two.

A run that was stopped or killed and resumed equals one that was not, bit for bit on a CPU, as in the RL loop.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from gapo_cli.config.supervised import SupervisedConfig
from gapo_cli.config.trainer import GuardsConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.interfaces import Display, Engine, SleepingEngine
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.nano.tokenizer import word_tokens
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.usable_layout import usable_layout
from gapo_cli.records import EditTask
from gapo_cli.runs.run_files import RunFiles
from gapo_cli.training.batches.example_batches import micro_batches, plan_batches
from gapo_cli.training.batches.examples import FIXED_WORDS, Example, Scrambler
from gapo_cli.training.checkpoints.checkpoints import (
    Checkpoints,
    TrainerState,
    check_tasks,
    hash_of_tasks,
    load_state,
    together,
    under,
)
from gapo_cli.training.checkpoints.random_state import random_tensors, random_values, restore_random
from gapo_cli.training.guards import SkipGuard, TooManySkipped, skipped_sentence
from gapo_cli.training.held_out import HeldOut, better
from gapo_cli.training.interrupts import interrupts_wait
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.out_of_memory import Advise, OutOfMemory, memory_watched, no_advice

STAGE = "sft"


@dataclass(frozen=True)
class SupervisedResult:
    steps: int
    skipped_steps: int
    tokens: int
    seconds: float
    cpu_seconds: float
    first_loss: float
    last_loss: float


@dataclass(frozen=True)
class SupervisedParts:
    """All that a supervised run is made of. `examples[n]` was made of `tasks[n]`; `held_out` and `engine`: None where
    nothing is to be evaluated; `chunk`: as `completion_logprobs` has it; `advise`: what to say where memory runs out."""

    run_dir: Path
    seed: int
    policy: LoadedModel
    config: SupervisedConfig
    tasks: Sequence[EditTask]
    examples: Sequence[Example]
    held_out: HeldOut | None
    engine: Engine | None
    display: Display
    keep_checkpoints: int = 2
    chunk: int | Literal["auto"] = "auto"
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    advise: Advise = no_advice


class SupervisedLoop:
    """One run; the policy is trained in place. `resume_from` a checkpoint, or not, then `run`. The result depends on seed,
    data and config alone."""

    def __init__(self, parts: SupervisedParts) -> None:
        self.parts, self.policy, self.config = parts, parts.policy, parts.config
        self.display = parts.display
        self.layout, notice = usable_layout(
            self.config.layout, self.policy, "supervised.layout", otherwise="padded", dropout=True
        )
        if notice is not None:
            self.display.say(notice)
        self.generator = random.Random(parts.seed)
        self.plan = plan_batches([len(example) for example in parts.examples], self.config, self.generator)
        words = word_tokens(self.policy.tokenizer, FIXED_WORDS) if self.config.scramble else []
        self.scramble = Scrambler(words, self.config.scramble, self.generator)
        self.optimizer = Optimizer(self.policy.model.parameters(), self.config.optimizer, total_updates=len(self.plan))
        self.guard = SkipGuard(parts.guards.skipped_in_a_row)
        self.files = RunFiles(parts.run_dir)
        self.checkpoints = Checkpoints(parts.run_dir, parts.keep_checkpoints)
        self.number = self.seen = self.skipped = 0
        self.losses: list[float] = []
        self.means: list[float] = []
        self.saved = 0
        self.to_evaluate = parts.held_out is not None
        self.best: dict[str, Any] | None = None
        self.started, self.cpu_started = time.monotonic(), time.process_time()

    def resume_from(self, checkpoint: Path) -> None:
        """Takes up the state of a verified checkpoint, whose model the policy was loaded from. What the run wrote after it is
        taken back. Raises CheckpointError where the checkpoint is of other tasks, another seed or another stage."""
        state = load_state(checkpoint, STAGE)
        values, seed = state.values, self.parts.seed
        check_tasks(checkpoint, values["task_ids"], self.parts.tasks)
        if values["seed"] != seed:
            raise CheckpointError(
                f"resume={checkpoint}: was trained with seed={values['seed']}, this run has seed={seed}; give that seed"
            )
        if values["step"] > len(self.plan):
            raise CheckpointError(
                f"resume={checkpoint}: is of batch {values['step']}, and supervised.tokens={self.config.tokens} or supervised.epochs="
                f"{self.config.epochs} are reached in {len(self.plan)} batches; give more of them"
            )
        self.optimizer.restore(under("optimizer", state.tensors), values["updates"])
        restore_random(values["random"], under("random", state.tensors))
        version, internal, gauss = values["generator"]
        self.generator.setstate((version, tuple(internal), gauss))
        self.number = self.saved = values["step"]
        self.seen, self.skipped, self.losses, self.means = (values[name] for name in ("seen", "skipped", "losses", "means"))
        self.guard.in_a_row = values["skipped_in_a_row"]
        self.to_evaluate, self.best = values["to_evaluate"], values["best"]
        self.started = time.monotonic() - values["seconds"]
        self.cpu_started = time.process_time() - values["cpu_seconds"]
        for sentence in self.checkpoints.go_back_to(self.number, state.best):
            self.display.say(f"resuming from batch {self.number}: {sentence}")
        if not self.checkpoints.best.folder.is_dir():
            self.best = None
        # an evaluation that was due, or begun, comes again
        self.files.forget_after(self.number - 1 if self.to_evaluate else self.number, rows=values["rows"])
        if not self.to_evaluate and isinstance(self.parts.engine, SleepingEngine):
            self.parts.engine.sleep()  # it was started awake, and training comes first

    def start_over(self) -> None:
        """Removes what an earlier try of this run has written, which no whole checkpoint is left of."""
        for sentence in self.checkpoints.go_back_to(0, best=None):
            self.display.say(f"starting over: {sentence}")
        self.files.forget_after(-1, rows=0)

    def run(self) -> SupervisedResult:
        """Trains to the end of the plan, and evaluates before, after and in between. Raises KeyboardInterrupt after Ctrl-C,
        with a checkpoint of the last whole batch, and UserError where the guard stops it or memory runs out."""
        try:
            while True:
                if self.to_evaluate:
                    self._evaluate()
                if self.number == len(self.plan):
                    break
                with interrupts_wait():
                    self._train(self.plan[self.number])
        except KeyboardInterrupt:
            self._stop()
            raise
        except OutOfMemory:
            if self.to_evaluate:
                self._stop()
            else:  # in the middle of a batch
                self.display.say(
                    f"stopped in the middle of batch {self.number + 1} of {len(self.plan)}: {self.checkpoints.newest_in_words()}"
                )
            raise
        seconds, cpu_seconds = time.monotonic() - self.started, time.process_time() - self.cpu_started
        first, last = (self.means[0], self.means[-1]) if self.means else (math.nan, math.nan)
        return SupervisedResult(len(self.plan), self.skipped, self.seen, seconds, cpu_seconds, first, last)

    def _train(self, batch: Sequence[int]) -> None:
        examples = [self.scramble(self.parts.examples[index]) for index in batch]
        self.policy.model.train()  # for the dropout of adapters and attention
        with memory_watched(f"learning from batch {self.number + 1}", "update", self.parts.advise):
            loss = self.accumulate(examples)
            step = self.optimizer.step(math.isfinite(loss))
        self.policy.model.eval()
        self.number += 1
        self.skipped += step.skipped
        if not step.skipped:
            self.losses.append(loss)
        try:
            self.guard.saw(step.skipped, examples)
        except TooManySkipped as stop:
            path = self.files.write_examples(
                self.number, [self.parts.tasks[index] for index in batch], [self._texts(one) for one in examples]
            )
            raise UserError(skipped_sentence(stop.steps, f"batch {self.number}", path)) from stop
        self.seen += sum(map(len, examples))
        self.display.progress("supervised training", self.number, len(self.plan))
        last = self.number == len(self.plan)
        if self.number % self.config.log_every == 0 or last:
            elapsed = time.monotonic() - self.started
            row = {
                "step": self.number, "sft/tokens": self.seen, "sft/skipped_steps": self.skipped, "actor/lr": step.learning_rate,
                "perf/throughput": self.seen / elapsed, "time_s": elapsed,
            }  # fmt: skip
            if self.losses:  # not where every step was skipped
                row["sft/loss"] = sum(self.losses) / len(self.losses)
                self.means.append(row["sft/loss"])
                self.losses = []
            if not step.skipped:
                row["actor/grad_norm"] = step.grad_norm
            self.files.record(row, self.display)
        every = self.config.evaluate_every
        self.to_evaluate = self.parts.held_out is not None and (last or (every > 0 and self.number % every == 0))
        if not self.to_evaluate:
            self._save_where_due()

    def accumulate(self, examples: Sequence[Example]) -> float:
        """Adds the gradient of the mean cross-entropy (nats a token) over the answers' tokens, and returns the loss. Logits are
        made for those positions only."""
        policy = self.policy
        tokens = sum(len(example.answer) for example in examples)
        total = torch.zeros((), device=policy.device)
        for batch in micro_batches(examples, self.layout, self.config.max_tokens_per_microbatch, policy.pad_token_id):
            with policy.autocast():
                found = completion_logprobs(policy.model, batch.to(policy.device), chunk=self.parts.chunk)
            loss = -found.logprobs.sum() / tokens
            loss.backward()
            total += loss.detach()
        return total.item()

    def _evaluate(self) -> None:
        held_out, engine = self.parts.held_out, self.parts.engine
        started = time.perf_counter()
        with memory_watched(f"evaluating after batch {self.number}", "rollout", self.parts.advise):
            engine.sync(self.policy)
            row = {"step": self.number, **held_out.evaluate(self.number, self.policy, engine, self.display.progress)}
        if isinstance(engine, SleepingEngine):
            engine.sleep()
        row |= {"timing_s/testing": time.perf_counter() - started, "time_s": time.monotonic() - self.started}
        with interrupts_wait():
            self.to_evaluate = False
            best = better(row, self.number, self.best)
            if best is not None:
                self.best = best
                self.checkpoints.save_best(self.policy, best)
            self.files.record(row, self.display)
            self._save_where_due()

    def _save_where_due(self) -> None:
        """Not where Ctrl-C has saved this batch before its evaluation: that checkpoint makes the evaluation again."""
        due = self.number % self.config.checkpoint_every == 0 or self.number == len(self.plan)
        if due and self.saved != self.number:
            self._save()

    def _texts(self, example: Example) -> tuple[str, str]:
        return self.policy.tokenizer.decode(example.prompt), self.policy.tokenizer.decode(example.answer)

    def _save(self) -> None:
        tensors = together(optimizer=self.optimizer.tensors(), random=random_tensors())
        values: dict[str, Any] = {
            "step": self.number,
            "seed": self.parts.seed,
            "task_ids": hash_of_tasks(self.parts.tasks),
            "updates": self.optimizer.updates,
            "random": random_values(),
            "generator": self.generator.getstate(),
            "seen": self.seen,
            "skipped": self.skipped,
            "losses": self.losses,
            "means": self.means,
            "skipped_in_a_row": self.guard.in_a_row,
            "to_evaluate": self.to_evaluate,
            "best": self.best,
            "rows": self.files.rows(),
            "seconds": time.monotonic() - self.started,
            "cpu_seconds": time.process_time() - self.cpu_started,
        }
        best = None if self.best is None else self.best["step"]
        self.checkpoints.save(self.number, self.policy, TrainerState(STAGE, tensors, values, best))
        self.saved = self.number

    def _stop(self) -> None:
        if self.number == 0:
            self.display.say("stopped before the first batch was done: there is nothing to resume")
            return
        with interrupts_wait():
            if self.saved != self.number:
                self._save()
        self.display.say(
            f"stopped after batch {self.number} of {len(self.plan)}: saved {self.checkpoints.path(self.number)}; "
            f"go on with resume={self.files.run_dir}"
        )
