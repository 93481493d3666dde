"""The supervised loop: one optimizer step a batch, in an order that is fixed by the seed, resumable between any two.

A run that was stopped or killed and resumed equals one that was not, bit for bit on a CPU, as in the RL loop.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapo_cli.config import GuardsConfig, SupervisedConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.interfaces import Display, Template
from gapo_cli.models.load import LoadedModel
from gapo_cli.models.nano_tokenizer import word_tokens
from gapo_cli.records import EditTask
from gapo_cli.training.checkpoints import Checkpoints, TrainerState, check_tasks, hash_of_tasks, load_state, under
from gapo_cli.training.guards import SkipGuard, TooManySkipped, skipped_sentence
from gapo_cli.training.interrupts import interrupts_wait
from gapo_cli.training.optimizer import Optimizer
from gapo_cli.training.random_state import random_tensors, random_values, restore_random
from gapo_cli.training.run_files import RunFiles
from gapo_cli.training.supervised import FIXED_WORDS, Example, Scrambler, answer_loss, encode_examples, plan_batches

STAGE = "sft"
LOG_EVERY = 50
"""Batches that a row of metrics is about."""


@dataclass(frozen=True)
class SupervisedResult:
    steps: int
    skipped_steps: int
    tokens: int
    seconds: float
    cpu_seconds: float
    first_loss: float
    last_loss: float


class SupervisedLoop:
    """Trains `policy` in place until `config.tokens` are seen; the result depends on seed, data and config alone. Losses are
    means over `log_every` batches. Raises UserError for an empty split, a task that does not fit the context, and where
    `guards` stop it."""

    def __init__(
        self, run_dir: Path, policy: LoadedModel, tasks: Sequence[EditTask], template: Template, config: SupervisedConfig, seed: int,
        display: Display, keep_checkpoints: int = 2, log_every: int = LOG_EVERY, guards: GuardsConfig | None = None,
    ) -> None:  # fmt: skip
        if not tasks:
            raise UserError("supervised training needs at least one task, and the training split is empty")
        self.policy, self.tasks, self.config, self.seed, self.display = policy, tasks, config, seed, display
        self.log_every = log_every
        self.generator = random.Random(seed)
        self.examples = encode_examples(policy, template, tasks, config, seed)
        self.plan = plan_batches([len(example) for example in self.examples], config, self.generator)
        self.scramble = Scrambler(word_tokens(policy.tokenizer, FIXED_WORDS), config.scramble, self.generator)
        self.optimizer = Optimizer(policy.model.parameters(), config.optimizer, total_updates=len(self.plan))
        self.guard = SkipGuard((guards or GuardsConfig()).skipped_in_a_row)
        self.files = RunFiles(run_dir)
        self.checkpoints = Checkpoints(run_dir, keep_checkpoints)
        self.number = self.seen = self.skipped = 0
        self.losses: list[float] = []
        self.means: list[float] = []
        self.saved = 0
        self.started, self.cpu_started = time.monotonic(), time.process_time()

    def resume_from(self, checkpoint: Path) -> None:
        """Takes up the state of a verified checkpoint, whose model the policy was loaded from. What the run wrote after it is
        taken back. Raises CheckpointError where the checkpoint is of other tasks, another seed or another stage."""
        state = load_state(checkpoint, STAGE)
        values = state.values
        check_tasks(checkpoint, values["task_ids"], self.tasks)
        if values["seed"] != self.seed:
            raise CheckpointError(f"resume={checkpoint}: was trained with seed={values['seed']}, this run has seed={self.seed}; give that seed")
        if values["step"] > len(self.plan):
            raise CheckpointError(
                f"resume={checkpoint}: is of batch {values['step']}, and supervised.tokens={self.config.tokens} are {len(self.plan)} "
                "batches; give more of them"
            )
        self.optimizer.restore(under("optimizer", state.tensors), values["updates"])
        restore_random(values["random"], under("random", state.tensors))
        version, internal, gauss = values["generator"]
        self.generator.setstate((version, tuple(internal), gauss))
        self.number = self.saved = values["step"]
        self.seen, self.skipped, self.losses, self.means = (values[name] for name in ("seen", "skipped", "losses", "means"))
        self.guard.in_a_row = values["skipped_in_a_row"]
        self.started = time.monotonic() - values["seconds"]
        self.cpu_started = time.process_time() - values["cpu_seconds"]
        for sentence in self.checkpoints.go_back_to(self.number, best=None):
            self.display.say(f"resuming from batch {self.number}: {sentence}")
        # the evaluation after the last batch has that batch's number, and it comes again
        self.files.forget_after(self.number - 1, rows=values["rows"])

    def start_over(self) -> None:
        """Removes what an earlier try of this run has written, which no whole checkpoint is left of."""
        for sentence in self.checkpoints.go_back_to(0, best=None):
            self.display.say(f"starting over: {sentence}")
        self.files.forget_after(-1, rows=0)

    def run(self) -> SupervisedResult:
        """Trains to the end of the plan. Raises KeyboardInterrupt after Ctrl-C, with a checkpoint of the last whole batch, and
        UserError where the guard stops it."""
        self.policy.model.train()
        try:
            for batch in self.plan[self.number :]:
                with interrupts_wait():
                    self._train(batch)
        except KeyboardInterrupt:
            self._stop()
            raise
        self.policy.model.eval()
        seconds, cpu_seconds = time.monotonic() - self.started, time.process_time() - self.cpu_started
        first, last = (self.means[0], self.means[-1]) if self.means else (math.nan, math.nan)
        return SupervisedResult(len(self.plan), self.skipped, self.seen, seconds, cpu_seconds, first, last)

    def _train(self, batch: Sequence[int]) -> None:
        rows = [self.scramble(self.examples[index]) for index in batch]
        loss = answer_loss(self.policy, rows)
        loss.backward()
        value = loss.item()
        step = self.optimizer.step(math.isfinite(value))
        self.number += 1
        self.skipped += step.skipped
        if not step.skipped:
            self.losses.append(value)
        try:
            self.guard.saw(step.skipped, batch)
        except TooManySkipped as stop:
            path = self.files.write_examples(self.number, [self.tasks[index] for index in batch], [self._texts(row) for row in rows])
            raise UserError(skipped_sentence(stop.steps, f"batch {self.number}", path)) from stop
        self.seen += sum(map(len, rows))
        self.display.progress("supervised training", self.number, len(self.plan))
        if self.number % self.log_every == 0 or self.number == len(self.plan):
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
        if self.number % self.config.checkpoint_every == 0 or self.number == len(self.plan):
            self._save()

    def _texts(self, example: Example) -> tuple[str, str]:
        return self.policy.tokenizer.decode(example.prompt), self.policy.tokenizer.decode(example.answer)

    def _save(self) -> None:
        tensors = {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}
        tensors |= {f"random.{name}": value for name, value in random_tensors().items()}
        values: dict[str, Any] = {
            "step": self.number,
            "seed": self.seed,
            "task_ids": hash_of_tasks(self.tasks),
            "updates": self.optimizer.updates,
            "random": random_values(),
            "generator": self.generator.getstate(),
            "seen": self.seen,
            "skipped": self.skipped,
            "losses": self.losses,
            "means": self.means,
            "skipped_in_a_row": self.guard.in_a_row,
            "rows": self.files.rows(),
            "seconds": time.monotonic() - self.started,
            "cpu_seconds": time.process_time() - self.cpu_started,
        }
        self.checkpoints.save(self.number, self.policy, TrainerState(STAGE, tensors, values))
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
