"""The sections `trainer`, `trainer.optimizer` and `guards`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

from gapo_cli.config.checks import one_of, positive, require
from gapo_cli.config.model import DTYPES

LAYOUTS = ("packed", "masked", "padded")
OPTIMIZERS = ("adamw", "adamw_8bit")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, with `name` adamw_8bit by bitsandbytes, which keeps the moments in 8 bits a number (arXiv:2110.02861). The learning
    rate rises linearly over `warmup_steps` optimizer steps; then it stays, or, with `decay_from` below 1, falls linearly from that
    share of the run to `final_fraction` of itself."""

    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    warmup_steps: int = 10
    decay_from: float = 1.0
    final_fraction: float = 0.1
    max_grad_norm: float = 1.0
    name: str = "adamw"

    def __post_init__(self) -> None:
        one_of("optimizer.name", self.name, OPTIMIZERS)
        positive("optimizer", learning_rate=self.learning_rate, max_grad_norm=self.max_grad_norm)
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"optimizer.betas={list(self.betas)}: need two numbers from 0 to below 1",
        )
        require(self.weight_decay >= 0, f"optimizer.weight_decay={self.weight_decay}: need 0 or more")
        require(self.warmup_steps >= 0, f"optimizer.warmup_steps={self.warmup_steps}: need 0 or more")
        require(0 <= self.decay_from <= 1, f"optimizer.decay_from={self.decay_from}: need 0 to 1")
        require(0 <= self.final_fraction <= 1, f"optimizer.final_fraction={self.final_fraction}: need 0 to 1")

    def check(self) -> None:
        """Raises UserError where the package is missing that the optimizer needs here."""
        installed = self.name != "adamw_8bit" or importlib.util.find_spec("bitsandbytes") is not None
        require(installed, "optimizer.name=adamw_8bit needs: pip install 'gapo-cli[8bit]'")


@dataclass(frozen=True)
class TrainerConfig:
    """Scale. `budget_tokens`: a run of any stage ends when it has computed so many tokens
    (gapo_cli/training/learners/token_count.py), if its other limits have not ended it before (None: only those do). `steps`: rollout batches of `prompts_per_step` groups; each is learnt from `epochs_per_step` times in
    mini-batches of `prompts_per_mini_batch` groups (one optimizer step each), cut into micro-batches of at most
    `max_tokens_per_microbatch` tokens, padding included (0: not cut), which never changes the loss. `layout`: see
    `gapo_cli.models.packing.layout`; the loss is the same in all. `logprob_chunk_tokens`: completion tokens whose logits are in
    memory at a time (0: all; auto: by estimate). `dtype`: what passes compute in; weights that are trained are float32 in any
    case. `gradient_checkpointing`: activations are made again in the backward pass instead of kept. `reference_dtype`: what a
    KL reference that is a copy is held in.
    `recompute_logprobs`: old log-probabilities are the trainer's own, by an extra pass, and not the engine's (None: where the
    engine has weights of its own, or with importance sampling). `logprob_tolerance`: mean difference in nats between the
    engine's log-probabilities and the trainer's from which on a run is stopped (None: by dtype). `processes`: how many share the run
    (None: as many as torchrun has started, else one); `threads` are each one's. `shard`: they share the weights, gradients and
    moments, each of them holds a part (gapo_cli/models/sharding.py)."""

    steps: int
    prompts_per_step: int
    prompts_per_mini_batch: int
    optimizer: OptimizerConfig
    epochs_per_step: int = 1
    max_tokens_per_microbatch: int = 0
    logprob_chunk_tokens: int | Literal["auto"] = "auto"
    layout: str = "packed"
    device: str = "cpu"
    dtype: str = "float32"
    gradient_checkpointing: bool = False
    reference_dtype: str = "float32"
    recompute_logprobs: bool | None = None
    logprob_tolerance: float | None = None
    checkpoint_every: int = 20
    keep_checkpoints: int = 2
    threads: int = 0
    budget_tokens: int | None = None
    processes: int | None = None
    shard: bool = False

    @property
    def updates_per_step(self) -> int:
        """Optimizer steps of a rollout batch."""
        return self.epochs_per_step * -(-self.prompts_per_step // self.prompts_per_mini_batch)

    def __post_init__(self) -> None:
        one_of("trainer.layout", self.layout, LAYOUTS)
        one_of("trainer.dtype", self.dtype, DTYPES)
        one_of("trainer.reference_dtype", self.reference_dtype, DTYPES)
        require(
            self.reference_dtype == "float32" or self.dtype == "bfloat16",
            f"trainer.reference_dtype={self.reference_dtype}: needs trainer.dtype=bfloat16, or reference and policy differ by rounding",
        )
        positive(
            "trainer",
            steps=self.steps,
            prompts_per_step=self.prompts_per_step,
            prompts_per_mini_batch=self.prompts_per_mini_batch,
            epochs_per_step=self.epochs_per_step,
            checkpoint_every=self.checkpoint_every,
            keep_checkpoints=self.keep_checkpoints,
        )
        require(
            self.prompts_per_mini_batch <= self.prompts_per_step,
            f"trainer.prompts_per_mini_batch={self.prompts_per_mini_batch}: need at most "
            f"trainer.prompts_per_step={self.prompts_per_step}",
        )
        require(
            self.max_tokens_per_microbatch >= 0,
            f"trainer.max_tokens_per_microbatch={self.max_tokens_per_microbatch}: need 0 (no cut) or more",
        )
        require(
            self.logprob_chunk_tokens == "auto" or self.logprob_chunk_tokens >= 0,
            f"trainer.logprob_chunk_tokens={self.logprob_chunk_tokens}: need auto, 0 (all at a time) or more",
        )
        require(
            self.logprob_tolerance is None or self.logprob_tolerance > 0,
            f"trainer.logprob_tolerance={self.logprob_tolerance}: need a number above 0 (in nats), or null for the dtype's",
        )
        require(
            self.budget_tokens is None or self.budget_tokens > 0,
            f"trainer.budget_tokens={self.budget_tokens}: need a number above 0, or null for no such limit",
        )
        require(self.threads >= 0, f"trainer.threads={self.threads}: need 0 (all cores) or more")
        require(
            self.processes is None or self.processes > 0,
            f"trainer.processes={self.processes}: need 1 or more, or null for as many as torchrun has started",
        )


@dataclass(frozen=True)
class GuardsConfig:
    """When training stops by itself, and when it warns (training/guards.py). `skipped_in_a_row`: optimizer steps without a
    finite loss and gradient, one after another, that end the run (0: none do). A warning is given after `steps_in_a_row`
    training steps with: at least `zero_spread_frac` of the groups without spread; an entropy of at most `entropy` nats a token;
    at least `clip_ratio` of the answers cut at the limit; a share of no-op answers, or an exact match that they earn, `noop_rise`
    above that of the first steps."""

    skipped_in_a_row: int = 5
    steps_in_a_row: int = 5
    zero_spread_frac: float = 1.0
    entropy: float = 0.01
    clip_ratio: float = 0.9
    noop_rise: float = 0.25

    def __post_init__(self) -> None:
        require(self.skipped_in_a_row >= 0, f"guards.skipped_in_a_row={self.skipped_in_a_row}: need 0 (never stop) or more")
        positive("guards", steps_in_a_row=self.steps_in_a_row)
        for name in ("zero_spread_frac", "clip_ratio", "noop_rise"):
            require(
                getattr(self, name) > 0, f"guards.{name}={getattr(self, name)}: need a share above 0 (above 1 it never warns)"
            )
        require(self.entropy >= 0, f"guards.entropy={self.entropy}: need 0 or more nats")
