"""engine=torch for a policy whose weights are shared by ranks (trainer.shard=true): each rank samples from a copy that has all of them.

The copy is filled by `sync` and let go by `sleep`, so it is there while answers are sampled and not while the policy learns.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.sharding import empty, fill, whole_weights
from gapo_cli.records import Completion


@dataclass(eq=False, repr=False)
class GatheringEngine(TorchEngine):
    """Log-probabilities are those of the policy up to rounding, as if it had sampled itself. All ranks call `sync`, and have to
    before they `generate` again."""

    copied: Any = field(init=False)
    asleep: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.copied = copy.deepcopy(self.policy.frame)
        self.sync(self.policy)

    def sync(self, policy: LoadedModel) -> None:
        fill(self.copied, whole_weights(policy.model))
        self.policy = replace(policy, model=self.copied.to(policy.device), frame=None)
        self.asleep = False

    def sleep(self) -> None:
        empty(self.copied)
        self.asleep = True

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int], progress: Progress = no_progress
    ) -> list[tuple[Completion, ...]]:
        if self.asleep:  # other ranks may have no prompts, and so would not help to gather
            raise RuntimeError("the engine was put to sleep and has had no sync since")
        return super().generate(prompts, sampling, seeds, progress)
