"""An engine at work: every call of one goes through here, and what it gives is checked. It knows nothing of what is asked of it but
prompts, so its failures name no task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.errors import PartError, name_of, part_at_work
from gapo_cli.interfaces import (
    Engine,
    EngineMemory,
    PlannedEngine,
    Progress,
    RolloutScale,
    SleepingEngine,
    TextEngine,
    no_progress,
)
from gapo_cli.records import Completion, Prompt


def start(make: Callable[..., Engine], policy: Any) -> Engine:
    """The engine of a policy. Raises PartError where what makes it fails, or gives no engine; so do the others."""
    with part_at_work("engine", make):
        engine = make(policy=policy)
    if not all(callable(getattr(engine, name, None)) for name in ("generate", "sync")):
        raise _wrong(make, type(engine).__name__, "gapo_cli.interfaces.Engine, with generate and sync")
    return engine


def generate(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    seeds: Sequence[int],
    progress: Progress = no_progress,
) -> list[tuple[Completion, ...]]:
    """`sampling.group_size` completions for each prompt, each with tokens, and with one log-probability a token or none."""
    with part_at_work("engine", engine):
        found = engine.generate(prompts, sampling, seeds, progress)
        groups = [tuple(group) for group in found]
    _check_counts(engine, groups, len(prompts), sampling)
    for number, group in enumerate(groups, start=1):
        fault = next(filter(None, map(_fault, group)), None)
        if fault is not None:
            raise _wrong(engine, f"for prompt {number} of {len(prompts)} {fault[0]}", fault[1])
    return groups


def generate_texts(
    engine: TextEngine,
    prompts: Sequence[Prompt],
    sampling: SamplingConfig,
    seeds: Sequence[int],
    journal: Path,
    progress: Progress = no_progress,
) -> list[tuple[Completion, ...] | None]:
    """As `generate`, of an engine that is asked in words; None for a prompt that does not fit its model's context. What it says of
    tokens is a server's word, and nothing is learnt from it."""
    with part_at_work("engine", engine):
        found = engine.generate_texts(prompts, sampling, seeds, journal, progress)
        groups = [None if group is None else tuple(group) for group in found]
    _check_counts(engine, [group for group in groups if group is not None], len(prompts) - groups.count(None), sampling)
    return groups


def sync(engine: Engine, policy: Any) -> None:
    with part_at_work("engine", engine):
        engine.sync(policy)


def sleep(engine: Engine | None) -> None:
    """Of an engine that cannot give its memory back, nothing."""
    if isinstance(engine, SleepingEngine):
        with part_at_work("engine", engine):
            engine.sleep()


def memory(make: Any, scale: RolloutScale) -> EngineMemory:
    """What it says that it holds; nothing where it does not say."""
    if not isinstance(make, PlannedEngine):
        return EngineMemory({}, stays=False)
    with part_at_work("engine", make):
        found = make.memory(scale)
    if not isinstance(found, EngineMemory):
        raise _wrong(make, f"{type(found).__name__} as its memory", "gapo_cli.interfaces.EngineMemory")
    return found


def _check_counts(engine: object, groups: Sequence[tuple[Any, ...]], prompts: int, sampling: SamplingConfig) -> None:
    if len(groups) != prompts:
        raise _wrong(engine, f"answers to {len(groups)} prompts", f"those to all {prompts}")
    for number, group in enumerate(groups, start=1):
        if len(group) != sampling.group_size:
            given = f"{len(group)} completions for prompt {number} of {prompts}"
            raise _wrong(engine, given, f"sampling.group_size={sampling.group_size}")
        strangers = {type(one).__name__ for one in group if not isinstance(one, Completion)}
        if strangers:
            raise _wrong(engine, f"{', '.join(sorted(strangers))} for prompt {number}", "gapo_cli.records.Completion")


def _fault(one: Completion) -> tuple[str, str] | None:
    """What a completion has and what it needs instead. There are as many tokens as in all answers of a step: a kind is looked at
    once."""
    kinds = isinstance(one.text, str), _all_are(Integral, one.token_ids), _all_are(Real, one.logprobs)
    if not all(kinds):
        return "a completion of other kinds of fields", "a str as text, whole numbers as token_ids, and numbers as logprobs"
    if one.logprobs and len(one.logprobs) != len(one.token_ids):
        return f"{len(one.logprobs)} log-probabilities for {len(one.token_ids)} tokens", "one for each, or none"
    if not all(map(math.isfinite, one.logprobs)):
        return "a log-probability that is not finite", "finite numbers"
    return None


def _all_are(kind: type, values: Sequence[Any]) -> bool:
    return all(issubclass(one, kind) for one in set(map(type, values)))


def _wrong(part: object, given: str, need: str) -> PartError:
    return PartError(f"engine={name_of(part)}: gives {given}; need {need}")
