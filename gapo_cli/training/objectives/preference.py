"""Direct preference optimisation (DPO, arXiv:2305.18290): of two answers to a prompt the better one shall gain on the worse.

What counts is how far the policy has moved from its start on each: the log ratio of an answer is log pi(y) - log pi_ref(y), and
the reward margin of a pair is m = beta * (log ratio of the better - log ratio of the worse). The loss is -log sigmoid(m).

Options: with label smoothing e (cDPO, https://ericmitchell.ai/cdpo.pdf) it is -(1 - e) log sigmoid(m) - e log sigmoid(-m); log
ratios per token instead of summed (TRL's sigmoid_norm); a cross-entropy of the better answers beside it (RPO,
arXiv:2404.19733), here over all their tokens in the batch, as TRL's loss "sft", where the paper takes the mean over
answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True, slots=True)
class PairLogprobs:
    """Log-probabilities of P pairs, summed over the tokens of each answer, (P,) nats; and their numbers of tokens, (P,)."""

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @classmethod
    def of(cls, logprobs: Tensor, lengths: Sequence[int]) -> PairLogprobs:
        """`logprobs` (N,): of all tokens, answer by answer, a pair's better answer before its worse one; `lengths`: tokens of
        each of the 2P answers."""
        # no scatter: on a GPU its order of addition, and so the last bit, changes from call to call
        sums = torch.stack([answer.sum() for answer in logprobs.split(list(lengths))])
        tokens = torch.tensor(lengths, dtype=sums.dtype, device=sums.device)
        return cls(sums[0::2], sums[1::2], tokens[0::2], tokens[1::2])


def reward_margins(policy: PairLogprobs, reference: PairLogprobs, *, beta: float, per_token: bool = False) -> Tensor:
    """(P,) what the better answer of each pair has gained on the worse one, times `beta`. `per_token`: each answer's log ratio is
    divided by its number of tokens. Gradients flow through `policy` only."""
    chosen = policy.chosen - reference.chosen.detach()
    rejected = policy.rejected - reference.rejected.detach()
    if per_token:
        chosen, rejected = chosen / policy.chosen_tokens, rejected / policy.rejected_tokens
    return beta * (chosen - rejected)


def preference_losses(margins: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """(P,) → (P,). The gradient by the margin is label_smoothing - sigmoid(-margin): it is 0 where the policy gives the pair the
    odds (1 - e) : e, and with e = 0 nowhere."""
    if not label_smoothing:
        return -logsigmoid(margins)
    return -(1 - label_smoothing) * logsigmoid(margins) - label_smoothing * logsigmoid(-margins)
