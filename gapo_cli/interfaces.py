"""What each pluggable part must offer. A user's own class with these methods goes in by a yaml with `_target_`,
exactly as the built-in ones do; it need not inherit from anything here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gapo_cli.config.model import ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.records import Advantages, Completion, EditTask, ParsedAnswer, Prompt, TaskSet

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


class Reward(Protocol):
    """Predicted and target regions → component name → scores (N,) in [0, 1], float64; "score" is the one to train on.
    A prediction None (malformed answer) scores 0."""

    def __call__(self, predictions: Sequence[str | None], targets: Sequence[str]) -> dict[str, np.ndarray]: ...


class Estimator(Protocol):
    """Rewards (B, G), NaN = missing, → Advantages. `lengths` (B, G): completion tokens, for those that weigh by them."""

    def __call__(self, rewards: np.ndarray, lengths: np.ndarray | None = None) -> Advantages: ...


@runtime_checkable
class LossTerm(Protocol):
    """A part of the policy loss, under `algorithm.terms`. Called with the tokens of one forward pass (a `ComputedTokens`,
    gapo_cli/training/objectives/terms.py) it returns its value for each of them, (N,) with a gradient. The values, each times
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


class Engine(Protocol):
    """`generate` returns, for each prompt (token ids), `sampling.group_size` Completions with regions not yet parsed.
    `seeds`: one a prompt; equal seed, prompt and weights give equal completions, however prompts are batched.
    `sync` makes the policy's present weights the ones sampled from.

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
    UserError where a package is missing or a sampling cannot be had."""

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


@runtime_checkable
class TextEngine(Protocol):
    """An engine that is asked in words: a model that lies on a server. No policy is loaded for it and none can be trained
    with it. `generate_texts` returns, for each prompt, `sampling.group_size` Completions, or None where the server says
    that the prompt does not fit its model's context. Finished answers are kept in `journal`; what stands there already is
    not asked again."""

    def generate_texts(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        seeds: Sequence[int],
        journal: Path,
        progress: Progress = no_progress,
    ) -> list[tuple[Completion, ...] | None]: ...
