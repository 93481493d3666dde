"""The sections `data` and `plan`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gapo_cli.config.checks import one_of, require


@dataclass(frozen=True)
class DataConfig:
    """Where prepared task sets lie and which split is trained on. `limit`: at most so many tasks a split (None: all).
    `dev_share`: of the files of the training split that become dev where the data have no dev split (None: none is cut).
    `on_long`: what happens to training tasks whose prompt and answer do not fit the context: stop, or skip and count."""

    name: str
    directory: Path
    train_split: str = "train"
    limit: int | None = None
    on_long: str = "stop"
    dev_share: float | None = None

    def __post_init__(self) -> None:
        share = self.dev_share
        require(share is None or 0 < share < 1, f"data.dev_share={share}: need above 0 and below 1, or null for none")
        require(self.limit is None or self.limit > 0, f"data.limit={self.limit}: need at least 1, or null for all")
        one_of("data.on_long", self.on_long, ("stop", "skip"))


@dataclass(frozen=True)
class PlanConfig:
    """What gapo plan counts with. `flops`: floating-point operations a second that the device reaches (None: measured
    here). `memory_gib`: of the device (None: what this machine has free)."""

    flops: float | None = None
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        for name in ("flops", "memory_gib"):
            value = getattr(self, name)
            require(value is None or value > 0, f"plan.{name}={value}: need a number above 0, or null to measure it here")
