"""The life of a training run, the same for every learner: resume or start over, learn step by step, look at held-out tasks
every so often, keep the best model, save, and stop in good order.

A checkpoint holds all that the next step depends on, so a run that was stopped or killed at any moment and resumed equals one
that was not (bit for bit on a CPU, clocks excepted: `run_files.repeatable`).

A stop is asked for in one way, KeyboardInterrupt, and what must not be broken off stands in `interrupts_wait`. What a run writes
goes through `RunFiles` and `Checkpoints`. Several ranks lead the same life: each knows all that the run depends on, and rank 0 writes it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gapo_cli.engines import calls
from gapo_cli.errors import CheckpointError, NotFiniteError, StorageError, UserError, batch_kept
from gapo_cli.interfaces import Learning
from gapo_cli.metric_names import CHECKPOINT_SECONDS
from gapo_cli.processes.ranks import LostRank
from gapo_cli.training.checkpoints.checkpoints import (
    Checkpoints,
    TrainerState,
    check_tasks,
    hash_of_tasks,
    load_state,
    taken_up,
    together,
    under,
)
from gapo_cli.training.checkpoints.random_state import random_tensors, random_values, restore_random
from gapo_cli.training.guards import CollapseWatch, TooManySkipped, skipped_sentence
from gapo_cli.training.held_out import better
from gapo_cli.training.interrupts import interrupts_wait, stopping_together
from gapo_cli.training.out_of_memory import memory_watched
from gapo_cli.training.run_context import RunContext

OTHERS = "random_of_others"
"""In a checkpoint of several ranks: the random states of those above 0."""


def random_of(rank: int) -> str:
    """The group of a checkpoint's tensors with the random states of a rank above 0."""
    return f"random_{rank}"


@dataclass(frozen=True)
class TrainingOutcome:
    """How a run ended. `checkpoint`, `best`: None where none was written; `interrupted`: stopped by Ctrl-C after `step`
    whole steps."""

    step: int
    checkpoint: Path | None
    best: Path | None
    interrupted: bool


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands between two steps: what a checkpoint of the last whole step is made of, weights and optimizer aside."""

    learner: dict[str, Any]
    random: dict[str, Any]
    random_tensors: dict[str, Any]


class Life:
    """One run. `resume_from` a checkpoint, or `start_over`, or neither, then `run`.

    `step`: whole steps so far. `unfinished`: the row of a step whose evaluation, row and checkpoint are still to come; None
    between two steps. `seconds_saving`: of the checkpoint since the last row, None where there was none."""

    def __init__(self, context: RunContext, learning: Learning) -> None:
        self.context, self.learning = context, learning
        self.learner, self.display = context.experiment.learner, context.display
        self.words, self.ranks = self.learner.words, context.ranks
        self.files, self.clock, self.guard = context.files, context.clock, context.guard
        self.watch = CollapseWatch(context.experiment.guards)
        self.checkpoints = Checkpoints(context.run_dir, context.experiment.trainer.keep_checkpoints, context.ranks)
        self.step = 0
        self.unfinished: dict[str, float] | None = {"step": 0}
        self.best: dict[str, Any] | None = None
        self.saved: int | None = None
        self.half_learnt = False
        self.seconds_saving: float | None = None
        self._remember()

    @classmethod
    def begin(cls, context: RunContext, *, automatic: bool = False) -> Life:
        """A run whose model is loaded and whose tasks are encoded, at the checkpoint where there is one. `automatic`: it may be
        done already, and where there is no checkpoint its folder may hold something of an earlier try."""
        with context.experiment.learner_at_work():
            learning = context.experiment.learner.begin(context)
        life = cls(context, learning)
        if context.checkpoint is not None:
            life.resume_from(context.checkpoint, may_be_done=automatic)
        elif automatic:
            life.start_over()
        return life

    def run(self) -> TrainingOutcome:
        """Goes on to the learner's last step. Ctrl-C ends it early with a checkpoint of the last whole step; so does a UserError,
        memory that runs out among them, which is then raised. Raises LostRank where another rank has ended."""
        with stopping_together(self.ranks):
            return self._run()

    def _run(self) -> TrainingOutcome:
        interrupted, trained = False, None
        self.files.write_learner(self.learner, self.learning.steps)
        try:
            self._finish_step()
            while self.step < self.learning.steps:
                self.ranks.together(self.ranks.look_for_stop)
                self._take_step(self.step + 1)
                self._finish_step()
            with interrupts_wait(), self.context.experiment.learner_at_work():
                trained = self.learning.finish()
        except KeyboardInterrupt:
            interrupted = True
            self._stop()
        except LostRank as error:
            again = f"resume=auto hydra.run.dir={self.context.run_dir}"
            raise LostRank(f"{error}; {self.checkpoints.newest_in_words()}; go on with {again}") from error
        except UserError as error:
            if not self.ranks.meet("error"):  # the others do not fail here, and hear of it when this rank has ended
                raise
            if isinstance(error, NotFiniteError):
                self._record_unfinished()
                self._say_stopped(self.checkpoints.newest_in_words())
            elif not isinstance(error, CheckpointError | StorageError):  # where nothing can be written, nor can a checkpoint
                self._stop()
            raise
        steps = self.checkpoints.own_steps()
        newest = self.checkpoints.path(steps[-1]) if steps else None
        best = self.checkpoints.best.folder
        return TrainingOutcome(self.step, trained or newest, best if best.is_dir() else None, interrupted)

    def resume_from(self, checkpoint: Path, *, may_be_done: bool = False) -> None:
        """Takes up the state of a verified checkpoint, whose model the policy was loaded from. What the run wrote after it
        is taken back. Raises CheckpointError where the checkpoint is of other tasks, another seed or another stage, or leaves
        nothing to do and `may_be_done` does not say that this is fine (a run that was killed after its last step)."""
        state = load_state(checkpoint, self.learner.name)
        values, seed = state.values, self.context.experiment.seed
        check_tasks(checkpoint, values["task_ids"], self.learning.tasks)
        done = values["step"] >= self.learning.steps and values["unfinished"] is None and self.learning.finished
        if done and not may_be_done:
            raise CheckpointError(f"resume={checkpoint}: all {self.learning.extent} are done; give more of them to go on")
        if values["seed"] != seed:
            raise CheckpointError(
                f"resume={checkpoint}: was trained with seed={values['seed']}, this run has seed={seed}; give that seed"
            )
        with taken_up(checkpoint):
            self.learning.restore(checkpoint, values["learner"], state.tensors)
            self._restore_random(values, state.tensors)
            self.step, self.best, self.unfinished = values["step"], values["best"], values["unfinished"]
            self.saved = self.step
            self.guard.in_a_row = values["guards"]["skipped_in_a_row"]
            self.watch.restore(values["guards"]["watch"])
            self.clock.restore(values)
        for sentence in self.checkpoints.go_back_to(self.step, state.best):
            self.display.say(f"resuming from {self.words.unit} {self.step}: {sentence}")
        # the row of an unfinished step was written without its evaluation: it comes again
        self.files.forget_after(self.step, values["rows"])
        if not self.ranks.from_first(self.checkpoints.best.folder.is_dir):
            self.best = None
        engine = self.learning.engine
        if self.learner.samples:
            calls.sync(engine, self.learning.policy)
        elif self.unfinished is None:
            calls.sleep(engine)  # it was started awake, and training comes first
        self._remember()

    def start_over(self) -> None:
        """Removes what an earlier try of this run has written, which no whole checkpoint is left of."""
        for sentence in self.checkpoints.go_back_to(0, best=None):
            self.display.say(f"starting over: {sentence}")
        self.files.forget_after(-1, rows=0)

    def _take_step(self, step: int) -> None:
        learning, words = self.learning, self.words
        self.display.progress(words.training, step - 1, learning.steps)
        with (
            memory_watched(f"{words.gathering} {words.unit} {step}", "rollout", learning.advise),
            batch_kept(lambda batch: learning.keep_for_inspection(step, batch)),
            self.context.experiment.learner_at_work(),
        ):
            gathered = learning.gather(step)
        with interrupts_wait():
            self.half_learnt = True
            try:
                with (
                    memory_watched(f"{words.learning} {words.unit} {step}", "update", learning.advise),
                    batch_kept(lambda batch: learning.keep_for_inspection(step, batch)),
                    self.context.experiment.learner_at_work(),
                ):
                    learnt = learning.learn(step, gathered)
            except TooManySkipped as stop:
                path = learning.keep_for_inspection(step, stop.batch)
                raise UserError(skipped_sentence(stop, f"{words.unit} {step}", path)) from stop
            row: dict[str, float] = {"step": step}
            if learnt:
                row |= {"time_s": self.clock.seconds, **learnt}
            self.step, self.unfinished, self.half_learnt = step, row, False
            self._remember()
            for sentence in self.watch.look(row):
                self.display.say(sentence)
        self.display.progress(words.training, step, learning.steps)

    def _finish_step(self) -> None:
        """The evaluation where one is due, the step's row, the checkpoint where one is due."""
        if self.unfinished is None:
            return
        row = dict(self.unfinished)
        if self._evaluation_due():
            row |= self._evaluate()
        with interrupts_wait(breakable=False):
            self.unfinished = None
            self._remember()
            self._keep_best(row)
            self._record(row)
            if self._checkpoint_due():
                self._save()

    def _evaluate(self) -> dict[str, float]:
        learning, engine, started = self.learning, self.learning.engine, time.perf_counter()
        with memory_watched(f"evaluating after {self.words.unit} {self.step}", "rollout", learning.advise):
            if not self.learner.samples:
                calls.sync(engine, learning.policy)
            row = learning.held_out.evaluate(self.step, learning.policy, engine, self.display.progress)
        if not self.learner.samples:
            calls.sleep(engine)
        return row | {"timing_s/testing": time.perf_counter() - started, "time_s": self.clock.seconds}

    def _evaluation_due(self) -> bool:
        every = self.learning.evaluate_every
        due = self.step in (0, self.learning.steps) or (every > 0 and self.step % every == 0)
        return due and self.learning.held_out is not None

    def _checkpoint_due(self) -> bool:
        """Not where Ctrl-C has saved this step before its evaluation: that checkpoint makes the evaluation again."""
        last = self.step == self.learning.steps
        return self.step not in (0, self.saved) and (last or self.step % self.learning.checkpoint_every == 0)

    def _keep_best(self, row: dict[str, float]) -> None:
        best = better(row, self.step, self.best, self.learner.best_by)
        if best is not None:
            self.best = best
            self.checkpoints.save_best(self.learning.policy, best)

    def _restore_random(self, values: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Each of as many ranks as there were has its own; else all have rank 0's."""
        others = values.get(OTHERS, [])
        if self.ranks.first or len(others) != self.ranks.count - 1:
            restore_random(values["random"], under("random", tensors))
        else:
            restore_random(others[self.ranks.rank - 1], under(random_of(self.ranks.rank), tensors))

    def _remember(self) -> None:
        self.snapshot = Snapshot(self.learning.values(), random_values(), random_tensors())

    def _record(self, row: dict[str, float]) -> None:
        if row.keys() > {"step"}:
            saving = {} if self.seconds_saving is None else {CHECKPOINT_SECONDS: self.seconds_saving}
            self.files.record(row | saving, self.display)
            self.seconds_saving = None

    def _record_unfinished(self) -> None:
        if self.unfinished is not None:
            self._record(self.unfinished)

    def _save(self, *, rows_to_come: int = 0) -> None:
        """`rows_to_come`: how many of the rows that are written a resumed run writes again."""
        started, snapshot = time.perf_counter(), self.snapshot
        tensors = self.learning.tensors() | together(random=snapshot.random_tensors)
        values = {
            "step": self.step,
            "seed": self.context.experiment.seed,
            "task_ids": hash_of_tasks(self.learning.tasks),
            "learner": snapshot.learner,
            "random": snapshot.random,
            "best": self.best,
            "unfinished": self.unfinished,
            "rows": self.files.rows() - rows_to_come,
            "guards": {"skipped_in_a_row": self.guard.in_a_row, "watch": self.watch.to_dict()},
            **self.clock.values(),
        }
        best = None if self.best is None else self.best["step"]
        others = self.ranks.gather((snapshot.random, snapshot.random_tensors))[1:]
        if others:
            values[OTHERS] = [of_rank for of_rank, _ in others]
            tensors |= together(**{random_of(rank): of_rank for rank, (_, of_rank) in enumerate(others, start=1)})
        self.checkpoints.save(self.step, self.learning.policy, TrainerState(self.learner.name, tensors, values, best))
        self.saved = self.step
        self.seconds_saving = time.perf_counter() - started

    def _stop(self) -> None:
        """A checkpoint of the last whole step, and a word about it."""
        unit, total = self.words.unit, self.learning.steps
        if self.half_learnt:
            self.display.say(
                f"stopped in the middle of {unit} {self.step + 1} of {total}: {self.checkpoints.newest_in_words()}"
            )
            return
        if self.step == 0:
            self.display.say(f"stopped before the first {unit} was done: there is nothing to resume")
            return
        with interrupts_wait(breakable=False):
            rows = self.files.rows()
            self._record_unfinished()
            took = ""
            if self.saved != self.step:
                self._save(rows_to_come=self.files.rows() - rows)
                took = f" in {self.seconds_saving:.1f} s"
        self._say_stopped(f"saved {self.checkpoints.path(self.step)}{took}; go on with resume={self.context.run_dir}")

    def _say_stopped(self, words: str) -> None:
        self.display.say(f"stopped after {self.words.unit} {self.step} of {self.learning.steps}: {words}")
