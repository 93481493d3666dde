"""What a search optimises: numbers of an individual's last evaluation on the dev split, and what its training cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gapo_cli.config.sampling import EvaluationConfig
from gapo_cli.errors import UserError, did_you_mean
from gapo_cli.evaluation.summary import MEASURES, PASS_AT
from gapo_cli.lab.paired_jobs import tokens_computed
from gapo_cli.metric_names import GREEDY, SAMPLED
from gapo_cli.statistics.over_seeds import JobRecord

SECONDS, TOKENS = "seconds", "tokens"
"""Costs of an individual: of its process, and what its training computed
(training/learners/token_count.py)."""
DEV = "dev"
"""The split that fitness is measured on."""


def measured_names(evaluation: EvaluationConfig) -> list[str]:
    """The names of all that an evaluation with these settings gives, and the costs."""
    names = []
    overall = (*MEASURES, "exact_match_low", "exact_match_high", "response_tokens")
    if evaluation.greedy:
        names += [f"{GREEDY}{name}" for name in overall]
    if evaluation.samples:
        names += [f"{SAMPLED}{name}" for name in overall]
        names += [f"{SAMPLED}pass@{k}" for k in PASS_AT if k <= evaluation.samples]
    return [*names, SECONDS, TOKENS]


def check_objectives(objectives: Sequence[str], evaluation: EvaluationConfig) -> None:
    """Raises UserError for an objective that no evaluation of the search gives."""
    known = measured_names(evaluation)
    for name in objectives:
        if name not in known:
            how = f"evaluation.greedy={str(evaluation.greedy).lower()} evaluation.samples={evaluation.samples}"
            near = did_you_mean(name, known) or f"need {GREEDY}MEASURE, {SAMPLED}MEASURE, {SECONDS} or {TOKENS}"
            raise UserError(f"objectives: {name}: no evaluation with {how} gives it; {near}")


def values_of(record: JobRecord, objectives: Sequence[str]) -> dict[str, float]:
    """Each objective as it was measured last; NaN for what a job does not have, all of it where the job failed."""
    if record.error is not None:
        return dict.fromkeys(objectives, math.nan)
    found = {SECONDS: record.seconds, TOKENS: tokens_computed(record)}
    for name in objectives:
        if name not in found:
            curve = record.curve(name)
            found[name] = float(curve[-1][1]) if curve else math.nan
    return {name: found[name] for name in objectives}


def fitness_of(values: Mapping[int, Mapping[str, float]], goals: Mapping[str, str]) -> dict[int, tuple[float, ...]]:
    """Number → objectives, more of each being better, of those that have them all."""
    return {
        number: tuple(one[name] if goal == "max" else -one[name] for name, goal in goals.items())
        for number, one in values.items()
        if not any(math.isnan(one[name]) for name in goals)
    }
