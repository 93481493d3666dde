"""The gradient of each completion's log-likelihood, as a random projection that fits the memory.

A gradient of D numbers is multiplied by seeded random signs and folded to K of them: number i is added to place i mod K (a count
sketch with fixed buckets). Scalar products of sketches are those of the gradients on average over the signs, with an error of
about |x| |y| / sqrt(K). Folding is linear, so the sketch of a sum is the sum of the sketches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import pad

from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import LAY_OUT
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.records import Group


class GradientSketch:
    """Folds the gradients that lie in the trainable parameters of `model` to `size` numbers; the signs come from `seed`."""

    def __init__(self, model: torch.nn.Module, size: int, seed: int) -> None:
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.size = size
        generator = torch.Generator().manual_seed(seed)
        self._signs = [
            (torch.randint(0, 2, (parameter.numel(),), generator=generator, dtype=torch.int8) * 2 - 1).to(parameter.device)
            for parameter in self.parameters
        ]

    def take(self) -> torch.Tensor:
        """(size,) float32 on the CPU; the parameters' gradients are None afterwards."""
        folded = torch.zeros(self.size, device=self.parameters[0].device)
        place = 0
        for parameter, signs in zip(self.parameters, self._signs, strict=True):
            if parameter.grad is not None:
                signed = parameter.grad.flatten().float() * signs
                shift = place % self.size
                folded += pad(signed, (shift, -(shift + len(signed)) % self.size)).view(-1, self.size).sum(0)
                parameter.grad = None
            place += parameter.numel()
        return folded.cpu()


def completion_gradients(
    policy: LoadedModel,
    groups: Sequence[Group],
    temperature: float,
    size: int,
    seed: int,
    progress: Progress = no_progress,
) -> list[np.ndarray]:
    """For each group (N, size) float32: the sketch of the gradient of every completion's log-likelihood, the sum over its tokens at
    `temperature`, as the policy gradient has it. Equal completions of a group are computed once. Completions without tokens
    have gradient 0."""
    sketch = GradientSketch(policy.model, size, seed)
    policy.model.zero_grad(set_to_none=True)
    total, done = sum(len(group.completions) for group in groups), 0
    found = []
    for group in groups:
        known: dict[tuple[int, ...], torch.Tensor] = {(): torch.zeros(size)}
        for completion in group.completions:
            tokens = completion.token_ids
            if tokens not in known:
                batch = LAY_OUT["padded"]([group.prompt_token_ids], [[tokens]], policy.pad_token_id).to(policy.device)
                with policy.autocast():
                    logprobs = completion_logprobs(policy.model, batch, temperature).logprobs
                logprobs.sum().backward()
                known[tokens] = sketch.take()
            done += 1
            progress("computing gradients", done, total)
        found.append(torch.stack([known[completion.token_ids] for completion in group.completions]).numpy())
    return found
