"""The section `dpo` of the composed config, typed: what stage=dpo is set by. conf/dpo/*.yaml hold its keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from gapo_cli.config.checks import one_of, positive, require
from gapo_cli.config.trainer import OptimizerConfig

PAIRS = ("rejected", "rollouts", "both", "sampled")


@dataclass(frozen=True)
class PreferenceConfig:
    """stage=dpo: `pairs_per_batch` pairs an optimizer step, for `epochs` passes over all pairs or `steps` steps, whichever
    is first (None: no such limit).

    `pairs`: a task's target against each of its rejected texts, or of the groups saved in `rollouts`, or of those that the starting
    model gives to `sampled_tasks` tasks before the first step, the best answer against the worst, where their rewards differ by at least
    `margin`; at most `pairs_per_prompt` of these a task (None: all), those that
    differ most. `beta`, `label_smoothing`, `per_token` and `supervised_weight`: see `gapo_cli.training.objectives.preference`."""

    pairs: str = "rejected"
    rollouts: str | None = None
    sampled_tasks: int = 512
    margin: float = 0.5
    pairs_per_prompt: int | None = 2
    epochs: float | None = 1
    steps: int | None = None
    pairs_per_batch: int = 16
    beta: float = 0.1
    label_smoothing: float = 0.0
    per_token: bool = False
    supervised_weight: float = 0.0
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-4))

    def __post_init__(self) -> None:
        one_of("dpo.pairs", self.pairs, PAIRS)
        require(
            self.rollouts is not None or not self.from_rollouts,
            f"dpo.pairs={self.pairs}: needs dpo.rollouts=RUN, the folder of a gapo rollout or gapo train with saved rollouts",
        )
        require(
            self.rollouts is None or self.from_rollouts,
            f"dpo.rollouts={self.rollouts}: is not read with dpo.pairs={self.pairs}; give dpo.pairs=rollouts, or both",
        )
        require(
            self.epochs is not None or self.steps is not None,
            "dpo.epochs=null and dpo.steps=null: need at least one of them, or training never ends",
        )
        for name in ("epochs", "steps", "pairs_per_prompt"):
            value = getattr(self, name)
            require(value is None or value > 0, f"dpo.{name}={value}: need a number above 0, or null for no such limit")
        # two answers of one reward say nothing about which is better
        positive(
            "dpo", sampled_tasks=self.sampled_tasks, margin=self.margin, pairs_per_batch=self.pairs_per_batch, beta=self.beta
        )
        require(
            0 <= self.label_smoothing < 0.5,
            f"dpo.label_smoothing={self.label_smoothing}: need 0 to below 0.5 (at 0.5 both answers of a pair are equally good)",
        )
        require(self.supervised_weight >= 0, f"dpo.supervised_weight={self.supervised_weight}: need 0 or more")

    @property
    def from_rejected(self) -> bool:
        return self.pairs in ("rejected", "both")

    @property
    def from_groups(self) -> bool:
        return self.pairs != "rejected"

    @property
    def from_rollouts(self) -> bool:
        return self.pairs in ("rollouts", "both")
