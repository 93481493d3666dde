"""What a trainer must keep and many break without an error: each invariant tried on a model, an engine and an estimator.

A check samples a few answers to made-up tasks, computes the same thing in two ways and says in one sentence what it found.
`sync_reaches_the_engine` moves the policy's weights, so what comes after it works with others.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.doctor.sampling_check import Drawn, look_at_draws
from gapo_cli.doctor.subject import STEP, Subject
from gapo_cli.models.policy import load_policy
from gapo_cli.models.sharding import here, whole
from gapo_cli.records import Completion
from gapo_cli.rollouts.advantages import with_advantages
from gapo_cli.rollouts.engine_agreement import check_engine_logprobs, measure_mismatch
from gapo_cli.training.checkpoints.checkpoints import (
    Checkpoints,
    TrainerState,
    find_checkpoint,
    load_state,
    together,
    under,
)

TRIAL_ANSWERS = 16
"""To a prompt, where distributions are looked at."""
GRADIENT_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
"""|difference| / |gradient| that rounding does not explain (measured: docs/how-to/check-a-machine.md)."""
MARK = "doctor"
"""What stands in the check's own checkpoint where a run's has its stage."""
STANDARD_DEVIATIONS = 5.0
"""Chance goes so far once in a million trials."""


@dataclass(frozen=True)
class Finding:
    """Whether something is as it must be, and a sentence: what was found or, where it is not, what that means."""

    holds: bool
    sentence: str


def relative_difference(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> float:
    """|first - second| / |first| over all tensors; infinite where `first` is 0 and `second` is not."""

    def norm(tensors: Sequence[torch.Tensor]) -> float:
        return float(torch.stack([whole(torch.linalg.vector_norm(one, dtype=torch.float64)) for one in tensors]).norm())

    length, apart = norm(first), norm([one - other for one, other in zip(first, second, strict=True)])
    return apart / length if length else (float("inf") if apart else float("nan"))


def engine_says_the_trainers_logprobs(subject: Subject) -> Finding:
    row = check_engine_logprobs(
        subject.engine, subject.policy, subject.groups, subject.sampling.temperature, subject.trainer.logprob_tolerance
    )
    mean = row.get("training/rollout_logprobs_diff_mean")
    if mean is None:
        return Finding(False, "the engine gave answers without tokens, so there is nothing to compare; look at its prompts")
    return Finding(True, f"{mean:.1e} nats apart on average, {subject.tolerance:g} are allowed")


def sampling_is_as_asked(subject: Subject) -> Finding:
    """Of `sampling` and of the greedy answers of evaluations."""
    asked = replace(subject.sampling, group_size=TRIAL_ANSWERS)
    prompts = [one.token_ids for one in subject.encoded]
    slack = 10 * subject.tolerance
    again = [tuple(one.token_ids for one in group) for group in subject.generate(subject.sampling)]
    if again != [tuple(one.token_ids for one in group.completions) for group in subject.groups]:
        return Finding(False, "the same seeds gave different answers the second time: rollouts cannot be repeated")
    answers = subject.generate(asked)
    wrong = _wrong_form(subject, answers, asked)
    if wrong:
        return Finding(False, wrong)
    drawn = look_at_draws(subject.policy, prompts, answers, asked, slack)
    wrong = _wrong_draws(drawn, asked)
    if wrong:
        return Finding(False, wrong)
    greedy = replace(asked, group_size=1, temperature=0.0, top_p=1.0, top_k=0)
    best = look_at_draws(subject.policy, prompts, subject.generate(greedy), greedy, slack)
    if best.outside:
        return Finding(
            False,
            f"asked for temperature 0, the engine chose {best.outside} of {best.tokens} tokens that are not the likeliest",
        )
    return Finding(
        True,
        f"{drawn.tokens} tokens look like temperature {drawn.temperature:.2f} ± {drawn.error:.2f}, {asked.temperature:g} was asked for",
    )


def _wrong_form(subject: Subject, groups: Sequence[Sequence[Completion]], asked: SamplingConfig) -> str | None:
    ends = set(subject.policy.eos_token_ids)
    for group in groups:
        if len(group) != asked.group_size:
            return f"asked for {asked.group_size} answers to a prompt, the engine gave {len(group)}"
        for one in group:
            if len(one.token_ids) > asked.max_new_tokens:
                return f"asked for at most {asked.max_new_tokens} tokens, the engine gave an answer of {len(one.token_ids)}"
            is_over = (one.token_ids[-1:] != () and one.token_ids[-1] in ends) or one.text.endswith(asked.stop)
            if ends & set(one.token_ids[:-1]) or (one.finish_reason == "stop") != is_over:
                return f"an answer with finish_reason={one.finish_reason} does not end where its first end token is"
    return None


def _wrong_draws(drawn: Drawn, asked: SamplingConfig) -> str | None:
    settings = f"temperature={asked.temperature:g}, top_p={asked.top_p:g} and top_k={asked.top_k}"
    if drawn.outside:
        return f"asked for {settings}, the engine drew {drawn.outside} of {drawn.tokens} tokens that these leave out"
    came, expected, deviation = max(drawn.tails, key=lambda tail: abs(tail[2]))
    if max(abs(drawn.deviation), abs(deviation)) <= STANDARD_DEVIATIONS:
        return None
    return (
        f"asked for {settings}, {drawn.tokens} tokens look like temperature {drawn.temperature:.2f} ± {drawn.error:.2f}, and {came} of them "
        f"come from the unlikely ends of their distributions, where {expected:.0f} are expected: a setting is active that nobody asked for"
    )


def microbatches_change_nothing(subject: Subject) -> Finding:
    layout, budget = subject.trainer.layout, subject.narrow
    apart = relative_difference(subject.gradient(layout, subject.wide), subject.gradient(layout, budget))
    return _same_gradient(
        subject, apart, f"cut into micro-batches of {budget} tokens", "the loss depends on trainer.max_tokens_per_microbatch"
    )


def packed_equals_padded(subject: Subject) -> Finding:
    apart = relative_difference(subject.gradient("padded", subject.narrow), subject.gradient("packed", subject.wide))
    return _same_gradient(subject, apart, "packed instead of padded", "train with trainer.layout=padded")


def _same_gradient(subject: Subject, apart: float, words: str, meaning: str) -> Finding:
    allowed = GRADIENT_TOLERANCE[subject.policy.dtype]
    if apart <= allowed:
        return Finding(True, f"{apart:.1e} of the gradient, {allowed:g} is allowed")
    return Finding(
        False, f"{words}, the gradient of a mini-batch differs by {apart:.1e} of its length, {allowed:g} is allowed: {meaning}"
    )


def ranks_make_the_gradient_of_one(subject: Subject) -> Finding:
    """The parts of all ranks, of rank 0's answers, add up to what each computes alone."""
    layout, budget, ranks = subject.trainer.layout, subject.narrow, subject.ranks
    groups = ranks.from_first(lambda: subject.groups)
    alone = ranks.together(lambda: subject.gradient(layout, budget, groups), waiting=subject.policy.sharded)
    parts = ranks.together(lambda: subject.gradient(layout, budget, groups, ranks), waiting=subject.policy.sharded)
    if not subject.policy.sharded:
        ranks.add(parts)
    words = f"divided among {ranks.count} ranks"
    return _same_gradient(subject, relative_difference(alone, parts), words, "use trainer.processes=1 on this machine")


def equal_rewards_teach_nothing(subject: Subject) -> Finding:
    # the last ones are equal as numbers and not as floats
    levels = [np.full(subject.sampling.group_size, level) for level in (0.0, 1.0, 1 / 3)]
    levels.append(np.where(np.arange(subject.sampling.group_size) % 2, 0.3, 0.1 + 0.2))
    name = type(subject.estimator).__name__
    for rewards in levels:
        (group,) = with_advantages([replace(subject.groups[0], scores=rewards, rewards=rewards)], subject.estimator)
        if np.any(group.advantages):
            return Finding(
                False,
                f"estimator={name}: answers that all earn {rewards[0]:.3g} get an advantage of {np.abs(group.advantages).max():.3g}: the "
                "estimator would learn from a group that shows no difference",
            )
    return Finding(True, f"advantages of {name} are 0 in {len(levels)} groups of equal rewards")


def sync_reaches_the_engine(subject: Subject) -> Finding:
    """An optimizer step; what the engine samples after its sync must be of the new weights."""
    policy, temperature = subject.policy, subject.sampling.temperature
    before = subject.groups
    for parameter, gradient in zip(
        subject.optimizer.parameters, subject.gradient(subject.trainer.layout, subject.narrow), strict=True
    ):
        parameter.grad = gradient
    subject.optimizer.step()
    pairs = [(group, one) for group in before for one in group.completions[:1] if one.token_ids]
    moved = measure_mismatch(policy, pairs, temperature).mean
    if not moved > 2 * subject.tolerance:
        return Finding(
            False,
            f"an optimizer step with learning rate {STEP[policy.dtype]:g} moved log-probabilities by {moved:.1e} nats only: nothing is learned",
        )
    subject.engine.sync(policy)
    answers = subject.generate(subject.sampling)
    pairs = [(group, one) for group, found in zip(before, answers, strict=True) for one in found[:1] if one.token_ids]
    apart = measure_mismatch(policy, pairs, temperature).mean
    if not apart <= subject.tolerance:
        return Finding(
            False,
            f"an optimizer step moved log-probabilities by {moved:.1e} nats, and after its sync the engine's differ from the trainer's by "
            f"{apart:.1e} ({subject.tolerance:g} are allowed): it samples from older weights",
        )
    return Finding(True, f"a step of {moved:.1e} nats, after which engine and trainer are {apart:.1e} apart")


def checkpoint_comes_back(subject: Subject) -> Finding:
    """The model and the optimizer's moments, by the writer and the readers of training, bit for bit. Of several ranks the first
    writes, and all read."""
    policy, ranks = subject.policy, subject.ranks
    kept = subject.optimizer.tensors()
    tensors = together(optimizer=kept)
    with contextlib.ExitStack() as folders:
        scratch = ranks.from_first(
            lambda: folders.enter_context(tempfile.TemporaryDirectory(prefix="gapo-doctor-", dir=subject.scratch))
        )
        Checkpoints(Path(scratch), 1, ranks).save(1, policy, TrainerState(MARK, tensors, {}))
        folder = find_checkpoint(scratch)
        size = sum(path.stat().st_size for path in folder.rglob("*"))
        start = replace(policy.config, path=str(folder))
        loaded = ranks.together(lambda: load_policy(start, subject.trainer), waiting=subject.policy.sharded)
        moments = under("optimizer", load_state(folder, MARK).tensors)
        ranks.all_agree(True)  # before the folder is removed, all have read it
    ours, theirs = policy.model.state_dict(), loaded.model.state_dict()
    changed = [key for key in sorted(ours.keys() | theirs.keys()) if not _same(ours.get(key), theirs.get(key))]
    lost = [key for key, value in kept.items() if not _same(value, moments.get(key))]
    for what, names, count in (("weights", changed, len(ours)), ("moments of the optimizer", lost, len(tensors))):
        if names:
            return Finding(
                False,
                f"{len(names)} of {count} {what} are not read back from a checkpoint as they were written ({names[0]}): a resumed run "
                "would continue differently",
            )
    return Finding(True, f"{len(ours)} weights and {len(tensors)} moments come back bit for bit, {size / 1e6:.0f} MB")


def _same(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    if first is None or second is None or first.dtype != second.dtype or first.shape != second.shape:
        return False
    return torch.equal(here(first).cpu(), here(second).cpu())


INVARIANTS: Mapping[str, Callable[[Subject], Finding]] = {
    "engine = trainer": engine_says_the_trainers_logprobs,
    "sampling as asked": sampling_is_as_asked,
    "micro-batches": microbatches_change_nothing,
    "packed = padded": packed_equals_padded,
    "equal rewards": equal_rewards_teach_nothing,
    "sync": sync_reaches_the_engine,
    "checkpoint": checkpoint_comes_back,
}
"""In the order in which they can be tried on one model."""
OF_RANKS: Mapping[str, Callable[[Subject], Finding]] = {"ranks = one process": ranks_make_the_gradient_of_one}
"""Those that several ranks try first, each with a model of its own."""
