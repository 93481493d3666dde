"""The section `algorithm`: the policy objective and what is done with groups before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
    """The policy objective around an estimator: clipping, aggregation, further terms, dynamic sampling, length penalty.
    `overlong` None means no length penalty; `importance_cap` None means no truncated importance sampling;
    `constant_divisor` is for aggregation=constant. `terms`: built LossTerms by name, in the order in which they are added;
    those whose coefficient is 0 are taken out."""

    name: str
    clip_low: float = 0.2
    clip_high: float = 0.28
    dual_clip: float = 10.0
    aggregation: str = "token-mean"
    constant_divisor: float | None = None
    dynamic_sampling: bool = False
    max_generation_rounds: int = 10
    overlong: OverlongConfig | None = None
    importance_cap: float | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("algorithm.aggregation", self.aggregation, AGGREGATIONS)
        require(0 <= self.clip_low < 1, f"algorithm.clip_low={self.clip_low}: need 0 <= clip_low < 1")
        require(self.clip_high >= 0, f"algorithm.clip_high={self.clip_high}: need 0 or more")
        require(self.dual_clip > 1, f"algorithm.dual_clip={self.dual_clip}: need more than 1")
        positive("algorithm", max_generation_rounds=self.max_generation_rounds)
        require(
            self.importance_cap is None or self.importance_cap > 0,
            f"algorithm.importance_cap={self.importance_cap}: need a number above 0, or null for none",
        )
        if self.aggregation == "constant":
            require(
                self.constant_divisor is not None and self.constant_divisor > 0,
                "algorithm.aggregation=constant needs algorithm.constant_divisor above 0",
            )
        # here and not where they are used: a coefficient of 0 must cost no pass, load no reference and log nothing
        object.__setattr__(self, "terms", {name: term for name, term in self.terms.items() if term.coefficient != 0})

    @property
    def needs_reference(self) -> bool:
        """A term compares with the starting model."""
        return bool(self.reference_terms)

    @property
    def reference_terms(self) -> tuple[str, ...]:
        """The names of the terms that compare with the starting model."""
        return tuple(name for name, term in self.terms.items() if term.needs_reference)

    @property
    def every_token_learns(self) -> bool:
        """A term gives a gradient to every token, those of advantage 0 too: no completion may be left out of a pass."""
        return any(term.every_token for term in self.terms.values())

    def without_reference(self) -> AlgorithmConfig:
        """The same without the terms that compare with the starting model."""
        return replace(self, terms={name: term for name, term in self.terms.items() if not term.needs_reference})
