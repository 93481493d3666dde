"""The section `algorithm`: the policy objective and what is done with groups before it."""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.config.checks import one_of, positive, require

AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "constant")


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
