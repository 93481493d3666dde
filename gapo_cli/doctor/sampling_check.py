"""Does an engine draw what it was asked for? Its tokens are held against the distributions that the model's own plain pass gives.

A model's generation_config, a server's defaults or a penalty that nobody asked for leave no trace in the text. They do in the
numbers: given what came before, each token is a draw from a distribution that is known here, so the sum over many tokens of
log q(token) - E[log q] has mean 0 and a known variance, and so has the count of draws from the tail. The first is the score
test of the temperature: from it follows the temperature that the tokens look like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.sharding import passing
from gapo_cli.records import Completion

TAILS = (0.8, 0.9, 0.95)
"""Tails begin where likelier tokens have this much of the probability: about where the top-p of shipped settings cuts."""
ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the tokens of a sample look like. `temperature`: the likeliest one, with its standard error; `deviation`: of the
    score, in standard deviations; `tails`: for each of TAILS the draws from the tail that came, that were to be expected, and
    the difference in standard deviations; `outside`: tokens that top-k, top-p or greedy choice leave out."""

    tokens: int
    temperature: float
    error: float
    deviation: float
    tails: tuple[tuple[int, float, float], ...]
    outside: int


def look_at_draws(
    policy: LoadedModel,
    prompts: Sequence[Sequence[int]],
    groups: Sequence[Sequence[Completion]],
    sampling: SamplingConfig,
    slack: float,
) -> Drawn:
    """The tokens of `groups`, drawn for `prompts`, as draws by `sampling` from the policy. `slack`: nats by which engine and
    trainer may round differently."""
    score = information = 0.0
    seen, expected, variance = (np.zeros(len(TAILS)) for _ in range(3))
    tokens = outside = 0
    for prompt, completions in zip(prompts, groups, strict=True):
        logits, labels = answer_logits(policy, prompt, completions)
        for some, drawn in zip(logits.split(ROWS_AT_ONCE), labels.split(ROWS_AT_ONCE), strict=True):
            tokens += len(drawn)
            if sampling.temperature == 0:
                outside += int((some.gather(-1, drawn[:, None]).squeeze(-1) < some.amax(-1) - slack).sum())
                continue
            one = _look(some / sampling.temperature, drawn, sampling, slack)
            outside += one.outside
            score, information = score + one.score, information + one.information
            seen, expected, variance = seen + one.seen, expected + one.expected, variance + one.variance
    tails = tuple(
        (int(came), float(hoped), float((came - hoped) / math.sqrt(spread)) if spread > 0 else 0.0)
        for came, hoped, spread in zip(seen, expected, variance, strict=True)
    )
    if information == 0:
        return Drawn(tokens, sampling.temperature, math.inf, 0.0, tails, outside)
    # one step of Newton's method for the inverse temperature, from the one asked for; the mean is above the likeliest: no limit
    ratio = 1 + score / information
    return Drawn(
        tokens=tokens,
        temperature=sampling.temperature / ratio if ratio > 0 else math.inf,
        error=sampling.temperature / math.sqrt(information),
        deviation=score / math.sqrt(information),
        tails=tails,
        outside=outside,
    )


@dataclass(frozen=True, slots=True)
class _Sums:
    """Over tokens: of log q - E[log q] and of its variance; by tail, of draws, expected draws and their variance."""

    score: float
    information: float
    seen: np.ndarray
    expected: np.ndarray
    variance: np.ndarray
    outside: int


def _look(logits: torch.Tensor, drawn: torch.Tensor, sampling: SamplingConfig, slack: float) -> _Sums:
    """logits (N, vocabulary), temperature applied; drawn (N,)."""
    ordered, tokens = torch.log_softmax(logits.double(), dim=-1).sort(dim=-1, descending=True)
    place = (tokens == drawn[:, None]).int().argmax(dim=-1, keepdim=True)
    kept = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        kept[:, sampling.top_k :] = False
    probabilities = ordered.exp() * kept
    probabilities /= probabilities.sum(-1, keepdim=True)
    if sampling.top_p < 1:
        kept &= _likelier(probabilities) < sampling.top_p
        probabilities = probabilities * kept
        probabilities /= probabilities.sum(-1, keepdim=True)
    least = ordered.masked_fill(~kept, math.inf).amin(-1, keepdim=True)
    outside = (ordered.gather(-1, place) < least - slack).squeeze(-1)
    logq = torch.where(kept, probabilities.clamp_min(torch.finfo(torch.float64).tiny).log(), 0.0)
    mean = (probabilities * logq).sum(-1)
    variance = (probabilities * logq**2).sum(-1) - mean**2
    inside = kept.gather(-1, place).squeeze(-1)
    likelier = _likelier(probabilities)
    tails = [(probabilities * (likelier >= cut)).sum(-1) for cut in TAILS]
    return _Sums(
        score=float(((logq.gather(-1, place).squeeze(-1) - mean) * inside).sum()),
        information=float((variance * inside).sum()),
        seen=np.array([int((likelier.gather(-1, place) >= cut).sum()) for cut in TAILS], dtype=np.float64),
        expected=np.array([float(tail.sum()) for tail in tails]),
        variance=np.array([float((tail * (1 - tail)).sum()) for tail in tails]),
        outside=int(outside.sum()),
    )


def _likelier(probabilities: torch.Tensor) -> torch.Tensor:
    """Of descending probabilities (N, vocabulary): the sum of those before each."""
    return probabilities.cumsum(-1) - probabilities


@torch.no_grad()
def answer_logits(
    policy: LoadedModel, prompt: Sequence[int], completions: Sequence[Completion]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, vocabulary) float32 that predict the N tokens of a prompt's completions, and the tokens (N,): by the model's
    own causal pass, prompt first, and none of the layouts that training and engines have."""
    return passing(policy.model, lambda: _answer_logits(policy, prompt, completions))


def _answer_logits(
    policy: LoadedModel, prompt: Sequence[int], completions: Sequence[Completion]
) -> tuple[torch.Tensor, torch.Tensor]:
    trunk, head = policy.model.get_decoder(), policy.model.get_output_embeddings()
    answers = [list(completion.token_ids) for completion in completions]
    width = max(map(len, answers))
    rows = torch.full((len(answers), width), policy.pad_token_id, device=policy.device)
    for row, answer in zip(rows, answers, strict=True):
        row[: len(answer)] = torch.tensor(answer)
    with policy.autocast():
        first = trunk(input_ids=torch.tensor([list(prompt)], device=policy.device), use_cache=True)
        hidden = first.last_hidden_state[:, -1:].expand(len(answers), -1, -1)
        if width > 1:
            cache = first.past_key_values
            cache.batch_repeat_interleave(len(answers))
            # what fills up a row stands after its answer, and no token looks ahead
            rest = trunk(input_ids=rows[:, :-1], past_key_values=cache, use_cache=True).last_hidden_state
            hidden = torch.cat([hidden, rest], dim=1)
        answered = torch.arange(width, device=policy.device) < torch.tensor(
            [[len(answer)] for answer in answers], device=policy.device
        )
        return head(hidden[answered]).float(), rows[answered]
