"""The section `supervised` of the composed config, typed: what stage=sft is set by. conf/supervised/*.yaml hold its keys."""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.config.checks import one_of, positive, require
from gapo_cli.config.trainer import OptimizerConfig


@dataclass(frozen=True)
class ArchitectureConfig:
    """The shape of a model that is made from nothing (gapo_cli/models/nano/model.py) and the size of its vocabulary."""

    hidden_size: int
    layers: int
    heads: int
    feed_forward_size: int
    vocabulary: int

    def __post_init__(self) -> None:
        positive(
            "supervised.architecture",
            hidden_size=self.hidden_size,
            heads=self.heads,
            feed_forward_size=self.feed_forward_size,
            vocabulary=self.vocabulary,
        )
        require(self.layers >= 2, f"supervised.architecture.layers={self.layers}: need at least 2 (copying takes two)")
        require(
            self.hidden_size % (2 * self.heads) == 0,
            f"supervised.architecture.hidden_size={self.hidden_size}: need a multiple of twice heads={self.heads}",
        )


@dataclass(frozen=True)
class EditLogConfig:
    """What share of the logged outcomes that supervised training learns from are finished edits, and how the others
    divide into edits left undone, running on past their end, and cut short."""

    finished: float = 1.0
    undone: float = 0.6
    runs_on: float = 0.2
    cut_short: float = 0.2

    def __post_init__(self) -> None:
        require(0 <= self.finished <= 1, f"supervised.log.finished={self.finished}: need 0 to 1")
        others = (self.undone, self.runs_on, self.cut_short)
        require(
            min(others) >= 0 and abs(sum(others) - 1) < 1e-9,
            f"supervised.log: undone, runs_on and cut_short are {others}: need three shares that add up to 1",
        )


@dataclass(frozen=True)
class SupervisedConfig:
    """stage=sft: answer-only cross-entropy until `tokens` training tokens (prompt and answer) or `epochs` of the tasks are
    seen, whichever is first (None: no such limit). A batch, one optimizer step, holds about `tokens_per_batch`, cut into
    micro-batches of at most `max_tokens_per_microbatch`, padding included (0: not cut), which never changes the loss.
    `layout`: a row an example, or all of a pass in one; the loss is the same. `evaluate_every`: batches between two
    evaluations (0: before and after training only). `checkpoint_every`: batches between two checkpoints. `log_every`: batches
    that a row of metrics is about. `log`: what the logged outcomes are. `scramble`: probability that a task's word tokens are
    permuted, prompt and answer alike, so that only copying in context pays (for models made from nothing). `architecture`:
    make the model and its tokenizer from nothing instead of loading `model.path`. `save_as`: also write the final model,
    adapters merged, in bfloat16, into this folder."""

    tokens_per_batch: int
    optimizer: OptimizerConfig
    tokens: int | None = None
    epochs: float | None = None
    max_tokens_per_microbatch: int = 0
    layout: str = "padded"
    evaluate_every: int = 0
    checkpoint_every: int = 500
    log_every: int = 50
    log: EditLogConfig = EditLogConfig()
    scramble: float = 0.0
    architecture: ArchitectureConfig | None = None
    save_as: str | None = None

    def __post_init__(self) -> None:
        one_of("supervised.layout", self.layout, ("packed", "padded"))
        require(
            self.tokens is not None or self.epochs is not None,
            "supervised.tokens=null and supervised.epochs=null: need at least one of them, or training never ends",
        )
        for name in ("tokens", "epochs"):
            value = getattr(self, name)
            require(value is None or value > 0, f"supervised.{name}={value}: need a number above 0, or null for no such limit")
        positive(
            "supervised",
            tokens_per_batch=self.tokens_per_batch,
            checkpoint_every=self.checkpoint_every,
            log_every=self.log_every,
        )
        for name in ("max_tokens_per_microbatch", "evaluate_every"):
            require(getattr(self, name) >= 0, f"supervised.{name}={getattr(self, name)}: need 0 or more")
        require(0 <= self.scramble <= 1, f"supervised.scramble={self.scramble}: need 0 to 1")
