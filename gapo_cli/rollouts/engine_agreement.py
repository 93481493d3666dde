"""Does the engine sample from the trainer's weights? A few fresh completions of every rollout batch are run through the
trainer's model; log-probabilities that differ by more than rounding stop the run before anything is learnt from them.

A sync that changed nothing, a prefix cache that was not reset or a tied head that was left behind make no error elsewhere:
the run goes on and learns from samples of another policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Engine
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import pad
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.processes.ranks import ALONE, Ranks
from gapo_cli.records import Completion, Group

COMPLETIONS = 8
"""Compared in each step: under 1 % of a pass over a batch of 128 groups of 8, and enough tokens for a mean."""
SHARED_COMPLETIONS = 1
"""The same for an engine with the policy's own weights, which no sync can leave behind: of a small batch of packed groups eight
would be a sixth of the update."""
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.15}
"""Mean |difference| in nats that rounding does not explain (measured: docs/reference/engines.md), by the coarser of both dtypes."""


@dataclass(frozen=True)
class Mismatch:
    """|engine's - trainer's log-probability| of `tokens` sampled tokens, in nats."""

    mean: float
    largest: float
    tokens: int


def recomputes_logprobs(trainer: TrainerConfig, algorithm: AlgorithmConfig, engine: Engine) -> bool:
    """Whether old log-probabilities are the trainer's own: as `trainer.recompute_logprobs` says or, where it says nothing,
    for an engine with weights and kernels of its own, and for importance sampling, which compares the two."""
    if trainer.recompute_logprobs is not None:
        return trainer.recompute_logprobs
    return not getattr(engine, "shares_weights", False) or algorithm.importance_cap is not None


def check_engine_logprobs(
    engine: Engine, policy: LoadedModel, groups: Sequence[Group], temperature: float, tolerance: float | None = None
) -> dict[str, float]:
    """The `training/rollout_logprobs_diff_*` of `groups`, which `engine` sampled since its last sync at `temperature`.
    Raises UserError where their mean is above `tolerance` (None: by the dtypes), or where log-probabilities are missing. Each of
    several ranks looks at what its own engine answered; where one differs, all raise."""
    ranks: Ranks = getattr(engine, "ranks", ALONE)
    if not ranks.alone:
        groups = [group for group in groups if group.prompt_token_ids in engine.answered]
    chosen = choose(groups, SHARED_COMPLETIONS if getattr(engine, "shares_weights", False) else COMPLETIONS)
    passes = ranks.greatest(len(chosen)) if policy.sharded else len(chosen)
    own = ranks.together(lambda: measure_mismatch(policy, chosen, temperature, passes), waiting=policy.sharded)
    found = {rank: mismatch for rank, mismatch in enumerate(ranks.gather(own)) if mismatch is not None}
    if not found:
        return {}
    # the worst engine, and not the mean over all: NaN is the worst of all
    worst = max(found, key=lambda rank: (not found[rank].mean < np.inf, found[rank].mean))
    mismatch, whose = found[worst], "the engine" if ranks.alone else f"the engine of rank {worst}"
    allowed = TOLERANCE[coarser(getattr(engine, "dtype", policy.dtype), policy.dtype)] if tolerance is None else tolerance
    if not mismatch.mean <= allowed:  # NaN is no agreement either
        raise UserError(
            f"{whose} does not sample from the trainer's weights: the log-probabilities of {mismatch.tokens} tokens that it sampled "
            f"after its last sync differ from the trainer's by {mismatch.mean:.3g} on average (at most {mismatch.largest:.3g}), and "
            f"trainer.logprob_tolerance allows {allowed:g}; the batch was not used: use engine=torch, or, if the engine is known "
            "to be that inexact, raise trainer.logprob_tolerance"
        )
    return {
        "training/rollout_logprobs_diff_mean": mismatch.mean,
        "training/rollout_logprobs_diff_max": mismatch.largest,
    }


def choose(groups: Sequence[Group], count: int) -> list[tuple[Group, Completion]]:
    """`count` completions with tokens in them, of groups from all over the batch and of different places in them."""
    spread = np.unique(np.linspace(0, len(groups) - 1, count).round().astype(int)) if len(groups) else []
    chosen = [(groups[index], groups[index].completions[index % len(groups[index].completions)]) for index in spread]
    return [(group, completion) for group, completion in chosen if completion.token_ids]


def measure_mismatch(
    policy: LoadedModel, chosen: Sequence[tuple[Group, Completion]], temperature: float, passes: int = 0
) -> Mismatch | None:
    """One completion a pass: whatever the batch, no more memory than a micro-batch of one. `passes`: at least so many are made,
    where others wait for them. None where nothing is chosen."""
    differences = []
    for group, completion in chosen:
        if len(completion.logprobs) != len(completion.token_ids):
            raise UserError(
                f"the engine gave {len(completion.logprobs)} log-probabilities for {len(completion.token_ids)} tokens of task "
                f"{group.task.id}; training needs one for each"
            )
        ours = logprobs_of(policy, group.prompt_token_ids, completion.token_ids, temperature)
        differences.append(np.abs(ours - np.asarray(completion.logprobs, dtype=np.float32)))
    for _ in range(passes - len(chosen)):
        logprobs_of(policy, (0,), (0,), temperature)
    if not differences:
        return None
    found = np.concatenate(differences)
    return Mismatch(float(found.mean()), float(found.max()), len(found))


def logprobs_of(policy: LoadedModel, prompt: Sequence[int], answer: Sequence[int], temperature: float) -> np.ndarray:
    """(tokens of the answer,) float32 in nats."""
    batch = pad([prompt], [[answer]], policy.pad_token_id).to(policy.device)
    with torch.no_grad(), policy.autocast():
        return completion_logprobs(policy.model, batch, temperature).logprobs.float().cpu().numpy()


def coarser(*dtypes: str) -> str:
    return "bfloat16" if "bfloat16" in dtypes else "float32"
