"""A bound on how much the policy changes with its prompt, as a term of the loss: RobustVLA's Jacobian term (arXiv:2511.01331).

At each answer token KL(pi(. | x) || pi(. | x + delta)) / |delta|^2, delta a small Gaussian step on the embeddings of the prompt: a
finite difference, for which no second derivative is needed. To second order it is delta' J'F J delta / (2 |delta|^2), with J the
Jacobian of the logits and F the Fisher matrix of their distribution. The clean pass is the update's own, whose hidden states are
read again; the perturbed one costs a forward and a backward pass of a `share` of the prompts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from gapo_cli.config.checks import require
from gapo_cli.interfaces import TermCost
from gapo_cli.seeds import derived_seed

if TYPE_CHECKING:  # building a term loads no torch
    from torch import Tensor

    from gapo_cli.models.packing.layout import TokenBatch
    from gapo_cli.training.objectives.terms import ComputedTokens

NOISE, CHOICE = 0, 1
"""Two draws for a prompt: its step, and whether it is among the share."""
LOOKED_AT = 16
"""Weights of each parameter: a step of training changes some of so many, and no more have to leave the device."""


@dataclass
class Jacobian:
    """`step`: the standard deviation of delta, as a share of the root mean square of the prompt's embeddings. `share`: of the prompts
    of a step, so many are perturbed, with all their answers; their values are divided by it, so that the mean stays the same. Which
    and how depends on the prompt and on the policy's weights before the step, and on nothing else: not on the micro-batches, and a
    resumed run draws the same. Raises UserError for a coefficient below 0, a step that is not above 0, and a share outside
    (0, 1]."""

    coefficient: float
    step: float = 0.05
    share: float = 0.25
    seed: int = field(default=0, init=False, compare=False)
    every_token: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    needs_entropy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.coefficient >= 0, f"Jacobian: coefficient={self.coefficient}: need 0 or more")
        require(self.step > 0, f"Jacobian: step={self.step}: need above 0")
        require(0 < self.share <= 1, f"Jacobian: share={self.share}: need 0 < share <= 1")

    def cost(self, updates: int) -> TermCost:
        return TermCost(forward=self.share, backward=self.share)

    def before_update(self, policy: Any) -> None:
        self.seed = seed_of_weights(policy.model)

    def __call__(self, tokens: ComputedTokens) -> Tensor:
        import torch

        from gapo_cli.models.packing.divergence import token_divergence
        from gapo_cli.models.packing.layout import LAY_OUT
        from gapo_cli.models.packing.logprobs import predicting_states

        chosen = [self._is_chosen(prompt) for prompt in tokens.prompts]
        values = torch.zeros_like(tokens.logprobs)
        if not any(chosen):
            return values
        prompts = [prompt for prompt, own in zip(tokens.prompts, chosen, strict=True) if own]
        completions = [answers for answers, own in zip(tokens.completions, chosen, strict=True) if own]
        batch = LAY_OUT[tokens.layout](prompts, completions, tokens.policy.pad_token_id).to(tokens.logprobs.device)
        model = tokens.policy.model
        with tokens.policy.autocast():
            embeddings, sizes = self.perturbed(model.get_input_embeddings()(batch.input_ids), batch, prompts, completions)
            states = predicting_states(model.get_decoder(), batch, embeddings)
            own = torch.tensor(chosen).repeat_interleave(_lengths(tokens.completions)).to(values.device)
            head = model.get_output_embeddings()
            found = token_divergence(head, tokens.states[own], head, states, tokens.temperature)
        per_token = torch.tensor(sizes).repeat_interleave(_lengths(completions)).to(values.device)
        return values.masked_scatter(own, found / per_token / self.share)

    def perturbed(self, embeddings: Tensor, batch: TokenBatch, prompts: Any, completions: Any) -> tuple[Tensor, list[float]]:
        """The embeddings (R, T, hidden size) of the batch with its step added to each prompt, the same one wherever the layout repeats
        the prompt; and |delta|^2 by prompt."""
        import torch

        added, sizes = torch.zeros_like(embeddings), []
        for prompt, places in zip(prompts, prompt_places(batch, completions), strict=True):
            (row, start), width = places[0], embeddings.shape[-1]
            own = embeddings[row, start : start + len(prompt)].detach().float()
            generator = torch.Generator().manual_seed(derived_seed(self.seed, NOISE, _number(prompt)))
            noise = torch.randn(len(prompt), width, generator=generator).to(own.device) * (
                self.step * own.square().mean().sqrt()
            )
            sizes.append(float(noise.square().sum()))
            for row, start in places:
                added[row, start : start + len(prompt)] = noise.to(added.dtype)
        return embeddings + added, sizes

    def _is_chosen(self, prompt: Any) -> bool:
        import numpy as np

        return self.share == 1 or np.random.default_rng([self.seed, CHOICE, _number(prompt)]).random() < self.share


def prompt_places(batch: TokenBatch, completions: Any) -> list[list[tuple[int, int]]]:
    """(row, column) where each group's prompt begins, once or, padded, once for each of its completions."""
    if batch.spans is not None:
        return [[(0, span.prompt.start)] for span in batch.spans]
    if batch.attention_mask is not None:
        return [[(row, 0)] for row in range(len(completions))]
    places, row = [], 0
    for answers in completions:
        places.append([(row + number, 0) for number in range(len(answers))])
        row += len(answers)
    return places


def seed_of_weights(model: Any) -> int:
    """A number that changes with every step of training: of a few weights of each trained parameter."""
    import torch

    some = [one.detach().flatten()[:LOOKED_AT].float() for one in model.parameters() if one.requires_grad]
    return _digest(torch.cat(some).cpu().numpy().tobytes())


def _number(prompt: Any) -> int:
    return _digest(b"".join(int(token).to_bytes(4, "little") for token in prompt))


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:7], "little")


def _lengths(completions: Any) -> Tensor:
    """Tokens of each group's answers together."""
    import torch

    return torch.tensor([sum(map(len, answers)) for answers in completions])
