"""The section `algorithm`: the policy objective and what is done with groups before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gapo_cli.config.checks import one_of, positive, require
from gapo_cli.config.trainer import OptimizerConfig

AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "constant")
CRITICS = ("copy", "head")


@dataclass(frozen=True)
class OverlongConfig:
    """DAPO's soft length penalty: r += min(-(length - (max_new_tokens - buffer)) / buffer * factor, 0)."""

    buffer_tokens: int
    factor: float = 1.0

    def __post_init__(self) -> None:
        positive("algorithm.overlong", buffer_tokens=self.buffer_tokens, factor=self.factor)


@dataclass(frozen=True)
class PPOConfig:
    """How a critic's values become advantages, and how the critic learns (arXiv:1707.06347).

    `gamma`, `gae_lambda`, `whiten`: see `gapo_cli.training.objectives.returns`. `value_clip`: see
    `gapo_cli.training.objectives.value`. `warmup_steps`: training steps in which only the critic learns. `kl_in_reward`: what is
    taken from a token's reward for each nat that the policy is above the starting model there. `trunk_weight`: with
    critic=head, the share of the value loss's gradient that goes on into the policy's trunk. `optimizer`: of the critic."""

    optimizer: OptimizerConfig
    gamma: float = 1.0
    gae_lambda: float = 0.95
    whiten: bool = True
    value_clip: float | None = 0.5
    warmup_steps: int = 0
    kl_in_reward: float = 0.0
    trunk_weight: float = 0.1

    def __post_init__(self) -> None:
        for name in ("gamma", "gae_lambda"):
            require(0 <= getattr(self, name) <= 1, f"algorithm.ppo.{name}={getattr(self, name)}: need 0 to 1")
        require(
            self.value_clip is None or self.value_clip > 0,
            f"algorithm.ppo.value_clip={self.value_clip}: need a number above 0, or null for no clipping",
        )
        for name in ("warmup_steps", "kl_in_reward", "trunk_weight"):
            require(getattr(self, name) >= 0, f"algorithm.ppo.{name}={getattr(self, name)}: need 0 or more")


@dataclass(frozen=True)
class AlgorithmConfig:
    """The policy objective around an estimator: clipping, aggregation, further terms, dynamic sampling, length penalty.
    `overlong` None means no length penalty; `importance_cap` None means no truncated importance sampling;
    `constant_divisor` is for aggregation=constant. `terms`: built LossTerms by name, in the order in which they are added;
    those whose coefficient is 0 are taken out. `critic`: advantages come from a critic that is a copy of the policy or a head on
    it, as `ppo` says, and from no estimator; None: from the estimator."""

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
    critic: str | None = None
    ppo: PPOConfig | None = None

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
        if self.critic is not None:
            one_of("algorithm.critic", self.critic, CRITICS)
        require(
            (self.critic is None) == (self.ppo is None),
            "algorithm.critic and algorithm.ppo: need both (algorithm=ppo has them) or none",
        )
        # here and not where they are used: a coefficient of 0 must cost no pass, load no reference and log nothing
        object.__setattr__(self, "terms", {name: term for name, term in self.terms.items() if term.coefficient != 0})

    @property
    def kl_in_reward(self) -> float:
        """What a nat above the starting model costs in a token's reward; 0 without a critic."""
        return 0.0 if self.ppo is None else self.ppo.kl_in_reward

    @property
    def needs_reference(self) -> bool:
        """A term or the reward compares with the starting model."""
        return bool(self.reference_terms) or self.kl_in_reward > 0

    @property
    def reference_terms(self) -> tuple[str, ...]:
        """The names of the terms that compare with the starting model."""
        return tuple(name for name, term in self.terms.items() if term.needs_reference)

    @property
    def every_token_learns(self) -> bool:
        """A term or the critic learns from every token, those of advantage 0 too: no completion may be left out of a pass."""
        return self.critic is not None or any(term.every_token for term in self.terms.values())

    def without_reference(self) -> AlgorithmConfig:
        """The same without what compares with the starting model."""
        terms = {name: term for name, term in self.terms.items() if not term.needs_reference}
        return replace(self, terms=terms, ppo=self.ppo and replace(self.ppo, kl_in_reward=0.0))

    def policy_alone(self) -> AlgorithmConfig:
        """The same without models beside the policy: neither a starting model nor a critic."""
        return replace(self.without_reference(), critic=None, ppo=None)

    def without_terms(self) -> AlgorithmConfig:
        """The same for a learner with a loss of its own: the policy alone, and no term."""
        return replace(self.policy_alone(), terms={})
