"""AdamW with a learning rate that is a function of the update's number, and a step that refuses a broken gradient.

Its moments are float32 like the weights or, by bitsandbytes, 8 bits a number with a scale for each 256 of them (arXiv:2110.02861);
there, small tensors keep theirs in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from gapo_cli.config.trainer import OptimizerConfig
from gapo_cli.errors import CheckpointError
from gapo_cli.models.sharding import is_part, part_of, whole
from gapo_cli.processes.ranks import ALONE, Ranks

MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq"), "adamw_8bit": ("state1", "state2")}
"""What the tensors with a number for each of a parameter's are called."""
TABLES = ("qmap1", "qmap2")
STEP = "step"


def learning_rate(config: OptimizerConfig, update: int, total_updates: int) -> float:
    """The rate of optimizer step `update` (from 0) of `total_updates`. It rises linearly over `warmup_steps` updates, the
    first of which already has 1/warmup_steps of the rate, and falls, with `decay_from` below 1, linearly from that share
    of the run to `final_fraction` at the last update. Beyond `total_updates` it stays where the last one left it."""
    warmth = min(1.0, (update + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay_start = config.decay_from * total_updates
    fallen = 0.0
    if config.decay_from < 1 and update + 1 > decay_start:
        fallen = min(1.0, (update + 1 - decay_start) / (total_updates - decay_start))
    return config.learning_rate * warmth * (1 - fallen * (1 - config.final_fraction))


@dataclass(frozen=True, slots=True)
class StepResult:
    """`grad_norm`: before clipping. `skipped`: the loss or the gradient was not finite, so nothing was changed."""

    grad_norm: float
    learning_rate: float
    skipped: bool


class Optimizer:
    """AdamW over all parameters that want a gradient. `updates` counts the calls of `step`, skipped ones too. The gradient is the
    sum of what `ranks` have each computed, so all of them make the same step; of parameters that they share each makes its part,
    whose gradients are added up already."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        config: OptimizerConfig,
        total_updates: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.config = config
        self.total_updates = total_updates
        self.updates = 0
        self.adamw = self._make()

    def _make(self) -> torch.optim.Optimizer:
        config = self.config
        settings = {"lr": config.learning_rate, "betas": tuple(config.betas), "weight_decay": config.weight_decay}
        config.check()
        if config.name == "adamw_8bit":
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(self.parameters, **settings)
        # fused: one kernel for all parameters; the plain loop costs more than the arithmetic in small models
        return torch.optim.AdamW(self.parameters, fused=True, **settings)

    def step(self, finite_loss: bool = True) -> StepResult:
        """One update from the gradients that are there; clears them. Where none was computed, an all-zero gradient
        counts: momentum and weight decay act as they would with one. A loss that is not finite is not learnt from, even
        where its gradient is."""
        rate = learning_rate(self.config, self.updates, self.total_updates)
        self.updates += 1
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.ranks.add(parameter.grad for parameter in self.parameters if not is_part(parameter))
        finite_loss = self.ranks.all_agree(finite_loss)
        norm = self.ranks.together(self._clip, waiting=True)
        skipped = not (finite_loss and math.isfinite(norm))
        if not skipped:
            for group in self.adamw.param_groups:
                group["lr"] = rate
            self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return StepResult(norm, rate, skipped)

    def _clip(self) -> float:
        return float(whole(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The moments and step counts as "<parameter number>.<name>" → tensor; `restore` is the inverse. Moments that ranks share
        are whole on the first one, on the CPU; all ranks make the call."""
        return self.ranks.together(
            lambda: {
                f"{index}.{name}": self._kept(name, value)
                for index, parameter in enumerate(self.parameters)
                for name, value in self.adamw.state.get(parameter, {}).items()
            },
            waiting=True,
        )

    def _kept(self, name: str, value: Any) -> torch.Tensor:
        if name in TABLES:  # those of eight-bit values are one tensor for all parameters, which safetensors refuses
            return value.clone()
        if not is_part(value):
            return torch.as_tensor(value)
        gathered = whole(value)
        return gathered.cpu() if self.ranks.first else gathered.new_empty(0)

    def restore(self, tensors: dict[str, torch.Tensor], updates: int) -> None:
        """Raises CheckpointError where the moments do not fit the parameters. Rate and decay stay this run's own."""
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        moments = MOMENTS[self.config.name]
        if any(name not in values for values in state.values() for name in moments):
            raise CheckpointError(
                f"resume: the checkpoint's optimizer is not {self.config.name}; give the optimizer.name that it was trained with"
            )
        fits = all(
            index < len(self.parameters) and all(values[name].shape == self.parameters[index].shape for name in moments)
            for index, values in state.items()
        )
        if not fits:
            raise CheckpointError(
                "resume: the checkpoint's optimizer state is of another model; resume the run that it belongs to"
            )
        if self.config.name == "adamw_8bit":  # counts in Python numbers
            state = {index: values | {STEP: int(values[STEP])} for index, values in state.items()}
        for index, values in state.items():
            state[index] = values | {name: part_of(values[name], like=self.parameters[index]) for name in moments}
        groups = self.adamw.state_dict()["param_groups"]
        self.adamw.load_state_dict({"state": state, "param_groups": groups})
        self.updates = updates
