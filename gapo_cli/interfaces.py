"""What each pluggable part must offer. A user's own class with these methods goes in by a yaml with `_target_`,
exactly as the built-in ones do; it need not inherit from anything here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gapo_cli.config.model import ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.records import Advantages, Completion, DoesNotApply, EditTask, ParsedAnswer, Perturbed, Prompt, TaskSet

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) by anything that can take longer than two seconds."""


def no_progress(what: str, done: int, total: int) -> None:
    """The Progress that shows nothing."""


class Display(Protocol):
    """Where a stage shows what it does. `progress` is a Progress; `metrics` adds a row to the live table; `say` is a
    line that stays. The command line shows them with rich; tests and library users may pass `QuietDisplay()`."""

    def progress(self, what: str, done: int, total: int) -> None: ...

    def metrics(self, row: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None: ...


class QuietDisplay:
    """A Display that shows nothing."""

    def progress(self, what: str, done: int, total: int) -> None: ...

    def metrics(self, row: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None: ...


class TaskSource(Protocol):
    """`build` makes the task set, the same one each time for the same settings and input. `fingerprint` is a JSON-ready
    dict of all that the result depends on: settings, seed, versions."""

    def build(self, progress: Progress) -> TaskSet: ...

    def fingerprint(self) -> Mapping[str, Any]: ...


class Template(Protocol):
    """`render` makes the prompt; `answer` is the text a model should say for an edited region (what supervised
    training teaches); `parse` reads a region back: parse(task, answer(task, region)).region == region."""

    def render(self, task: EditTask) -> Prompt: ...

    def answer(self, task: EditTask, region: str) -> str: ...

    def parse(self, task: EditTask, text: str) -> ParsedAnswer: ...


@runtime_checkable
class StoppedTemplate(Protocol):
    """A Template whose answers end in a text: each of `stop` ends one. Engines leave it in the answer that `parse` gets."""

    @property
    def stop(self) -> Sequence[str]: ...


@runtime_checkable
class TokenTemplate(Protocol):
    """A Template that writes a model's own tokens: each of `special_tokens` must be one token of its tokenizer."""

    @property
    def special_tokens(self) -> Sequence[str]: ...


class Perturbation(Protocol):
    """A change of a task that must not change its answer, such as another order of its related files. All that is random comes
    from `generator`: the same state of it gives the same result. It returns the task with the target that then holds, under the
    same id, or why it cannot be applied to this task. It leaves `task` as it is."""

    def __call__(self, task: EditTask, generator: random.Random) -> Perturbed | DoesNotApply: ...


class Reward(Protocol):
    """Predicted regions and the task of each → component name → scores (N,) in [0, 1], float64; "score" is the one to
    train on. A prediction None (malformed answer) scores 0, a missing reward is NaN. Of a task's `targets`, all acceptable, the best one counts. Answers
    to one task stand one after another."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]: ...


@runtime_checkable
class UnboundedReward(Protocol):
    """A Reward that says whether its score may leave [0, 1]. It is finite all the same."""

    unbounded: bool


class Estimator(Protocol):
    """Rewards (B, G), NaN = missing, → Advantages. `lengths` (B, G): completion tokens, for those that weigh by them."""

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages: ...


@runtime_checkable
class LossTerm(Protocol):
    """A part of the policy loss, under `algorithm.terms`. Called with the tokens of one forward pass (a `ComputedTokens`,
    gapo_cli/training/objectives/terms.py) it returns its value for each of them, (N,) with a gradient, or zeros. The values, each times
    its token's weight, are added up; this sum times `coefficient` is added to the loss, and the sum itself is logged as
    actor/NAME_loss, NAME being the term's key under `algorithm.terms`. With `coefficient` 0 a term is as if it were not there.

    `every_token`: it gives a gradient to tokens of advantage 0 too, so that no completion may be left out of a pass.
    `needs_reference`: it compares with the starting model, which is loaded then. `needs_entropy`: its gradient goes through
    the entropy."""

    coefficient: float
    every_token: bool
    needs_reference: bool
    needs_entropy: bool

    def __call__(self, tokens: Any) -> Any: ...


@runtime_checkable
class LookingBack(Protocol):
    """A LossTerm that compares with the policy as it was before an update: `before_update` is called with it (a LoadedModel)
    before the first optimizer step of each rollout batch."""

    def before_update(self, policy: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class TermCost:
    """What a LossTerm costs. `forward`, `backward`: passes of its own, as shares of the update's tokens, on average over a
    rollout batch. `keeps_weights`: it has a copy of the trained weights."""

    forward: float = 0.0
    backward: float = 0.0
    keeps_weights: bool = False


@runtime_checkable
class CostlyTerm(Protocol):
    """A LossTerm that says what it costs, for `gapo plan`. `updates`: optimizer steps of a rollout batch."""

    def cost(self, updates: int) -> TermCost: ...


class Engine(Protocol):
    """`generate` returns, for each prompt (token ids), `sampling.group_size` Completions with regions not yet parsed.
    `seeds`: one a prompt; equal seed, prompt and weights give equal completions, however prompts are batched.
    `sync` makes the policy's present weights the ones sampled from. An answer that one of `sampling.stop` ends has it as the
    end of its text, and the tokens up to the one that completes it.

    Two attributes may say more: `shares_weights` True, that it computes with the policy's own modules, so that its
    log-probabilities serve as the old ones of an update; `dtype`, what it computes in where that is not the policy's. What
    makes the engine says `shares_weights` too: `gapo plan` asks it."""

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int], progress: Progress = no_progress
    ) -> list[tuple[Completion, ...]]: ...

    def sync(self, policy: Any) -> None: ...


@runtime_checkable
class SleepingEngine(Protocol):
    """An Engine that can give an accelerator's memory back to the trainer: until the next `sync` or `generate`."""

    def sleep(self) -> None: ...


@runtime_checkable
class CheckedEngine(Protocol):
    """What makes an Engine, called with a policy, and can say before a policy is loaded what it cannot do: `check` raises
    UserError where a package is missing or a sampling is not possible."""

    def check(self, samplings: Sequence[SamplingConfig]) -> None: ...


@dataclass(frozen=True)
class RolloutScale:
    """What is asked of an engine at most: prompts of `prompt_tokens` tokens, `prompts` of them at a time. `dtype`: what the
    trainer computes in, on `device`. `parameters`: how many an engine with a copy of the policy's weights holds."""

    shape: ShapeConfig
    sampling: SamplingConfig
    prompts: int
    prompt_tokens: int
    dtype: str
    device: str
    parameters: int = 0


@dataclass(frozen=True)
class EngineMemory:
    """Bytes that an engine holds while it samples, by part. `stays`: also while the policy learns."""

    parts: Mapping[str, int]
    stays: bool


@runtime_checkable
class PlannedEngine(Protocol):
    """What makes an Engine, called with a policy, and can say for `gapo plan`, before a policy is loaded, how much memory it
    will take beside the policy's."""

    def memory(self, scale: RolloutScale) -> EngineMemory: ...


@dataclass(frozen=True)
class LearnerWords:
    """What a learner's work is called in messages. `unit`: what it counts, as in "step 3" or "batch 3"; `training` stands beside
    the progress bar; `gathering` and `learning` come before a unit and its number."""

    unit: str = "step"
    training: str = "training"
    gathering: str = "sampling for"
    learning: str = "learning in"


class Learner(Protocol):
    """How a model is trained: one of conf/stage, which a user chooses by `stage=NAME`. It is small and holds settings only;
    `begin` makes what learns. An `experiment` is a `gapo_cli.experiment.Experiment`, a floor above this module.

    `name`: the NAME, which checkpoints are marked with. `title`: what reports call it. `words`: for messages. `samples`: its steps
    sample rollouts with the engine, which it then keeps at the policy's weights. `keys`: settings of stage=rl that have another
    name here, for advice that names settings. `best_by`: the metrics that choose the best model: the first of them that an
    evaluation has.

    `check` raises UserError for settings that cannot be trained with, before anything is loaded. `starts_from_folder`: whether a
    model folder is loaded, or a model is made. `as_rl`: the experiment of stage=rl that takes as much memory for its weights
    and its optimizer. `begin` loads the model and encodes the tasks; `run` is a `gapo_cli.training.run_context.RunContext`."""

    name: str
    title: str
    words: LearnerWords
    samples: bool
    keys: Mapping[str, str]
    best_by: Sequence[str]

    def check(self, experiment: Any) -> None: ...

    def starts_from_folder(self, experiment: Any) -> bool: ...

    def as_rl(self, experiment: Any) -> Any: ...

    def begin(self, run: Any) -> Learning: ...


@runtime_checkable
class SelectiveLearner(Protocol):
    """A Learner that can say which settings it does not read: `unread` gives keys and sections of the configuration, each with the
    key that it reads instead, "" where there is none."""

    def unread(self, experiment: Any) -> Mapping[str, str]: ...


@runtime_checkable
class PlannedLearner(Protocol):
    """A Learner that can say for `gapo plan` what a run of it does, before a model is loaded. `check_settings` raises UserError for
    settings that cannot be trained with on any machine. `outline`: of the training tasks in `measured`, a
    `gapo_cli.training.outline.MeasuredTasks`; it returns an `Outline` from there, and raises UserError where none can be learnt
    from."""

    def check_settings(self, experiment: Any) -> None: ...

    def outline(self, experiment: Any, measured: Any) -> Any: ...


class Learning(Protocol):
    """A learner at work. `gapo_cli.training.lifecycle.Life` leads it through a run, step 1 to step `steps`.

    `policy`: the model that is trained, in place. `held_out` and `engine`: what evaluations ask, None where there are none.
    `tasks`: what is learnt from, in order; a checkpoint of other tasks cannot be resumed. `extent`: `steps` in words, with the
    setting that gives them. `evaluate_every` (0: before and after only) and `checkpoint_every` are in steps. `advise`: what to
    change where memory runs out.

    `gather` returns what a step learns from. It leaves the model alone, so it may be stopped at any point; nothing of it counts
    then. `learn` makes the step, which is whole or lost, and returns its row of metrics, {} where nothing is to be logged. It
    raises `gapo_cli.training.guards.TooManySkipped` through the run's guard; `keep_for_inspection` then writes that batch and
    returns the file.

    `values` (JSON-ready) and `tensors` (named "GROUP.NAME", no group of them random) are what the learner needs to go on, taken between two steps; `restore` is their inverse.
    It raises CheckpointError where they do not fit. `finish` writes what is left to write after the last step, and returns
    where the trained model lies, None where that is the last checkpoint; `finished`: there is nothing of that left to do."""

    policy: Any
    engine: Engine | None
    held_out: Any
    tasks: Sequence[EditTask]
    steps: int
    extent: str
    evaluate_every: int
    checkpoint_every: int
    advise: Callable[[Any], str]

    def gather(self, step: int) -> Any: ...

    def learn(self, step: int, gathered: Any) -> dict[str, float]: ...

    def keep_for_inspection(self, step: int, batch: Sequence[Any]) -> Path: ...

    def values(self) -> dict[str, Any]: ...

    def tensors(self) -> dict[str, Any]: ...

    def restore(self, checkpoint: Path, values: Mapping[str, Any], tensors: Mapping[str, Any]) -> None: ...

    def finish(self) -> Path | None: ...

    @property
    def finished(self) -> bool: ...


@runtime_checkable
class TextEngine(Protocol):
    """An engine that is asked in words: a model that lies on a server. No policy is loaded for it and none can be trained
    with it. `generate_texts` returns, for each prompt, `sampling.group_size` Completions, or None where the server says
    that the prompt does not fit its model's context. Finished answers are kept in `journal`; what stands there already is
    not asked again, and where `keeps_answers` is True the same command may therefore go on in a folder with results."""

    def generate_texts(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        seeds: Sequence[int],
        journal: Path,
        progress: Progress = no_progress,
    ) -> list[tuple[Completion, ...] | None]: ...


@dataclass(frozen=True, slots=True)
class RecordedPrompt:
    """A prompt as the model read it when its answers were recorded."""

    text: str
    token_ids: tuple[int, ...]


@runtime_checkable
class RecordedEngine(TextEngine, Protocol):
    """A TextEngine whose answers were given earlier. `gapo rollout` takes the tasks from the recording, in its order, and
    keeps their prompts as they were."""

    def recorded_task_ids(self) -> Sequence[str]: ...

    def recorded_task(self, task_id: str) -> EditTask: ...

    def recorded_prompt(self, task_id: str) -> RecordedPrompt: ...
