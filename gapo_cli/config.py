"""The fixed sections of the composed config, typed. Each checks itself, before anything heavy is loaded.

conf/config.yaml holds the same keys with their defaults; launch.py turns one into the other.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gapo_cli.errors import UserError, did_you_mean

AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "constant")
LAYOUTS = ("packed", "masked", "padded")
DTYPES = ("float32", "bfloat16")
OPTIMIZERS = ("adamw", "adamw_8bit")
BASELINES = ("copy", "replace")


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise UserError(sentence)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    near = did_you_mean(str(value), allowed)
    require(value in allowed, f"{name}={value}: need one of {', '.join(allowed)}{near and '; ' + near}")


def positive(section: str, **values: float) -> None:
    for name, value in values.items():
        require(value > 0, f"{section}.{name}={value}: need a number above 0")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (arXiv:2106.09685) instead of training all weights. `rank` 0: off. `alpha`: an adapter's output is
    scaled by alpha / rank (None: by 1). `dropout`: of what goes into an adapter, in the supervised stage only. `targets`:
    the ends of the names of the matrices that get one."""

    rank: int = 0
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def __post_init__(self) -> None:
        require(self.rank >= 0, f"model.lora.rank={self.rank}: need 0 (off) or more")
        require(
            self.alpha is None or self.alpha > 0, f"model.lora.alpha={self.alpha}: need a number above 0, or null for the rank"
        )
        require(0 <= self.dropout < 1, f"model.lora.dropout={self.dropout}: need 0 to below 1")
        require(bool(self.targets), "model.lora.targets=[]: need at least one name, as [q_proj,v_proj]")


@dataclass(frozen=True)
class ShapeConfig:
    """The figures of a decoder with gated feed-forward layers (Llama, Mistral, Qwen2, Qwen3) from which its parameters,
    memory and arithmetic follow. `head_size`: the width of one head; `attention_bias`: on queries, keys and values;
    `query_key_norm`: queries and keys are normalised head by head."""

    layers: int
    hidden_size: int
    heads: int
    key_value_heads: int
    head_size: int
    feed_forward_size: int
    vocabulary: int
    tied_embeddings: bool = False
    attention_bias: bool = False
    query_key_norm: bool = False

    def __post_init__(self) -> None:
        positive(
            "model.shape",
            layers=self.layers,
            hidden_size=self.hidden_size,
            heads=self.heads,
            key_value_heads=self.key_value_heads,
            head_size=self.head_size,
            feed_forward_size=self.feed_forward_size,
            vocabulary=self.vocabulary,
        )
        require(
            self.heads % self.key_value_heads == 0,
            f"model.shape.key_value_heads={self.key_value_heads}: need a divisor of heads={self.heads}",
        )


@dataclass(frozen=True)
class ModelConfig:
    """`path`: a folder, a hub name, `asset:NAME` for weights shipped with the package, or `gguf:PACKAGE` for those of an
    installed package. `context_length`: tokens of prompt and answer together. `chat`: prompts go through the tokenizer's
    chat template; `thinking`: what that is told as enable_thinking (None: nothing). `dtype`: what the weights are held in,
    beside what `trainer.dtype` computes in; bfloat16, half the memory, is for weights that are not trained. `lora`: train
    adapters instead of the weights; of an adapter's folder at `path`, the settings are its own. `shape`: what gapo plan counts
    with where the model's config.json is not on this machine."""

    name: str
    path: str
    context_length: int
    chat: bool = False
    thinking: bool | None = None
    trust_remote_code: bool = False
    dtype: str = "float32"
    lora: LoraConfig = LoraConfig()
    shape: ShapeConfig | None = None

    def __post_init__(self) -> None:
        one_of("model.dtype", self.dtype, DTYPES)
        positive("model", context_length=self.context_length)


@dataclass(frozen=True)
class SamplingConfig:
    """How rollouts are drawn. Every setting is explicit: a model's own generation_config never leaks in.
    `temperature` 0 is greedy; `top_p` 1 and `top_k` 0 are off."""

    group_size: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        require(self.group_size >= 1, f"sampling.group_size={self.group_size}: need at least 1")
        positive("sampling", max_new_tokens=self.max_new_tokens)
        require(self.temperature >= 0, f"sampling.temperature={self.temperature}: need 0 (greedy) or more")
        require(0 < self.top_p <= 1, f"sampling.top_p={self.top_p}: need 0 < top_p <= 1")
        require(self.top_k >= 0, f"sampling.top_k={self.top_k}: need 0 (off) or more")


@dataclass(frozen=True)
class OverlongConfig:
    """DAPO's soft length penalty: r += min(-(length - (max_new_tokens - buffer)) / buffer * factor, 0)."""

    buffer_tokens: int
    factor: float = 1.0

    def __post_init__(self) -> None:
        positive("algorithm.overlong", buffer_tokens=self.buffer_tokens, factor=self.factor)


@dataclass(frozen=True)
class AlgorithmConfig:
    """The policy objective around an estimator: clipping, aggregation, KL, dynamic sampling, length penalty.
    `kl_coefficient` 0 means that no reference pass is made; `overlong` None means no length penalty;
    `importance_cap` None means no truncated importance sampling; `constant_divisor` is for aggregation=constant."""

    name: str
    clip_low: float = 0.2
    clip_high: float = 0.28
    dual_clip: float = 10.0
    aggregation: str = "token-mean"
    constant_divisor: float | None = None
    kl_coefficient: float = 0.0
    entropy_coefficient: float = 0.0
    dynamic_sampling: bool = False
    max_generation_rounds: int = 10
    overlong: OverlongConfig | None = None
    importance_cap: float | None = None

    def __post_init__(self) -> None:
        one_of("algorithm.aggregation", self.aggregation, AGGREGATIONS)
        require(0 <= self.clip_low < 1, f"algorithm.clip_low={self.clip_low}: need 0 <= clip_low < 1")
        require(self.clip_high >= 0, f"algorithm.clip_high={self.clip_high}: need 0 or more")
        require(self.dual_clip > 1, f"algorithm.dual_clip={self.dual_clip}: need more than 1")
        require(self.kl_coefficient >= 0, f"algorithm.kl_coefficient={self.kl_coefficient}: need 0 or more")
        positive("algorithm", max_generation_rounds=self.max_generation_rounds)
        require(
            self.importance_cap is None or self.importance_cap > 0,
            f"algorithm.importance_cap={self.importance_cap}: need a number above 0, or null for none",
        )
        require(self.entropy_coefficient >= 0, f"algorithm.entropy_coefficient={self.entropy_coefficient}: need 0 or more")
        if self.aggregation == "constant":
            require(
                self.constant_divisor is not None and self.constant_divisor > 0,
                "algorithm.aggregation=constant needs algorithm.constant_divisor above 0",
            )


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
    """Scale. `steps`: rollout batches of `prompts_per_step` groups; each is learnt from `epochs_per_step` times in
    mini-batches of `prompts_per_mini_batch` groups (one optimizer step each), cut into micro-batches of at most
    `max_tokens_per_microbatch` tokens, padding included (0: not cut), which never changes the loss. `layout`: see
    `gapo_cli.models.layout`; the loss is the same in all. `logprob_chunk_tokens`: completion tokens whose logits are in
    memory at a time (0: all; auto: by estimate). `dtype`: what passes compute in; weights that are trained are float32 in any
    case. `gradient_checkpointing`: activations are made again in the backward pass instead of kept. `reference_dtype`: what a
    KL reference that is a copy is held in.
    `recompute_logprobs`: old log-probabilities are the trainer's own, by an extra pass, and not the engine's (None: where the
    engine has weights of its own, or with importance sampling). `logprob_tolerance`: mean difference in nats between the
    engine's log-probabilities and the trainer's from which on a run is stopped (None: by dtype)."""

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
        require(self.threads >= 0, f"trainer.threads={self.threads}: need 0 (all cores) or more")


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out evaluation. `tasks` None: all of the split. `samples` answers a task at `temperature` beside the greedy
    one (0: greedy only). `every_steps` 0: only before and after training. For gapo eval alone: `baseline` is the rule
    that answers instead of a model; `against` is an earlier run to compare with, task by task."""

    split: str = "eval"
    tasks: int | None = None
    samples: int = 0
    temperature: float = 1.0
    every_steps: int = 0
    greedy: bool = True
    baseline: str | None = None
    against: str | None = None

    def samplings(self, sampling: SamplingConfig) -> dict[Literal["greedy", "sampled"], SamplingConfig]:
        """How held-out tasks are answered: `sampling` gives the token limit; nothing is cut from the distribution."""
        plain = replace(sampling, top_p=1.0, top_k=0)
        greedy = {"greedy": replace(plain, group_size=1, temperature=0.0)} if self.greedy else {}
        sampled = {"sampled": replace(plain, group_size=self.samples, temperature=self.temperature)} if self.samples else {}
        return greedy | sampled

    def __post_init__(self) -> None:
        if self.baseline is not None:
            one_of("baseline", self.baseline, BASELINES)
        require(self.tasks is None or self.tasks > 0, f"evaluation.tasks={self.tasks}: need at least 1, or null for all")
        require(self.samples >= 0, f"evaluation.samples={self.samples}: need 0 or more")
        require(self.greedy or self.samples > 0, "evaluation.greedy=false needs evaluation.samples above 0")
        require(self.temperature > 0, f"evaluation.temperature={self.temperature}: need above 0 (greedy is evaluation.greedy)")


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


@dataclass(frozen=True)
class DataConfig:
    """Where prepared task sets lie and which split is trained on. `limit`: at most so many tasks a split (None: all).
    `on_long`: what happens to training tasks whose prompt and answer do not fit the context: stop, or skip and count."""

    name: str
    directory: Path
    train_split: str = "train"
    limit: int | None = None
    on_long: str = "stop"

    def __post_init__(self) -> None:
        require(self.limit is None or self.limit > 0, f"data.limit={self.limit}: need at least 1, or null for all")
        one_of("data.on_long", self.on_long, ("stop", "skip"))


@dataclass(frozen=True)
class PlanConfig:
    """What gapo plan reckons with. `flops`: floating-point operations a second that the device reaches (None: measured
    here). `memory_gib`: of the device (None: what this machine has free)."""

    flops: float | None = None
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        for name in ("flops", "memory_gib"):
            value = getattr(self, name)
            require(value is None or value > 0, f"plan.{name}={value}: need a number above 0, or null to measure it here")
