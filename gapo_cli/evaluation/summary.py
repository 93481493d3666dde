"""What a list of predictions amounts to: shares and means with intervals, overall, per family and per language.

A malformed answer counts as wrong: 0 for every match and similarity. Greedy answers are one a task, so shares get
Wilson's interval. Sampled answers are averaged within their task first, and the task is what the bootstrap draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gapo_cli.edits.delta_chrf import CONSTANTS, NEWEST
from gapo_cli.errors import DataError
from gapo_cli.evaluation.edit_behaviour import behaviour, sizes
from gapo_cli.evaluation.predictions import MODES, NOT_GENERATED, Mode, Prediction
from gapo_cli.evaluation.scores import Scores, score
from gapo_cli.metric_names import GREEDY, SAMPLED
from gapo_cli.statistics.intervals import Measure, measure_means, pass_at_k, wilson

NOT_MEASURED = Measure()
PASS_AT = (1, 2, 4, 8, 16, 32)
"""The k of pass@k that are reported, as far as every task has that many samples."""
SHARES = ("exact_match", "strict_match", "noop_rate", "malformed_rate", "truncated_rate")
MEANS = ("edit_similarity", "bleu", "chrf", "delta_chrf", "changed_lines_precision", "changed_lines_recall")
TRACKED = ("edits_unwanted", "silence_where_wanted", "wrong_region", "reversal_ratio", "kept_rate")
"""Of how a model edits, what a run's metrics have too: what training can drift into while exact match rises."""
ON_CHANGES = ("exact_match", "strict_match", *MEANS)
"""What is also measured over the tasks whose right answer changes something."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """One set of predictions, measured. `exact_match` compares stripped texts and is the headline; `strict_match`
    compares every character. `bleu` is the mean of the sentences' own scores. `noop_rate`: the prediction leaves the
    region as it stood. `exact_match_on_changes`: over the `changing_tasks` whose right answer is not the region as it
    stood; `on_changes`: the other measures over them. `reversal_rate`: over the `reversible_tasks`, the region without the
    history's last edit comes out. `malformed_reasons`: reason → share of the predictions. `response_tokens`: mean completion
    length, None where no model was asked. `pass_at`: k → pass@k, for sampled answers. `behaviour`: how
    the model edits (edit_behaviour.py), `sizes` what that is over. docs/reference/evaluation-metrics.md defines them all."""

    tasks: int
    predictions: int
    changing_tasks: int
    exact_match: Measure
    strict_match: Measure
    edit_similarity: Measure
    bleu: Measure
    noop_rate: Measure
    malformed_rate: Measure
    truncated_rate: Measure
    exact_match_on_changes: Measure
    chrf: Measure = NOT_MEASURED
    delta_chrf: Measure = NOT_MEASURED
    changed_lines_precision: Measure = NOT_MEASURED
    changed_lines_recall: Measure = NOT_MEASURED
    reversible_tasks: int = 0
    reversal_rate: Measure = NOT_MEASURED
    on_changes: Mapping[str, Measure] = field(default_factory=dict)
    response_tokens: float | None = None
    malformed_reasons: Mapping[str, float] = field(default_factory=dict)
    pass_at: Mapping[int, Measure] = field(default_factory=dict)
    behaviour: Mapping[str, Measure] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        row: dict[str, Any] = {"tasks": self.tasks, "predictions": self.predictions, "changing_tasks": self.changing_tasks}
        row |= {name: getattr(self, name).to_dict() for name in MEASURES}
        row |= {"response_tokens": self.response_tokens, "malformed_reasons": dict(self.malformed_reasons)}
        row |= {"reversible_tasks": self.reversible_tasks}
        row |= {"on_changes": {name: measure.to_dict() for name, measure in self.on_changes.items()}}
        row |= {"behaviour": {name: measure.to_dict() for name, measure in self.behaviour.items()}, "sizes": dict(self.sizes)}
        return row | {"pass_at": {str(k): measure.to_dict() for k, measure in self.pass_at.items()}}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Metrics:
        return cls(
            tasks=row["tasks"],
            predictions=row["predictions"],
            changing_tasks=row["changing_tasks"],
            # runs of before these were measured lack the newer ones
            **{name: Measure.from_dict(row[name] if name in FIRST_MEASURES else row.get(name)) for name in MEASURES},
            reversible_tasks=row.get("reversible_tasks", 0),
            on_changes={name: Measure.from_dict(measure) for name, measure in row.get("on_changes", {}).items()},
            response_tokens=row["response_tokens"],
            malformed_reasons=row["malformed_reasons"],
            pass_at={int(k): Measure.from_dict(measure) for k, measure in row["pass_at"].items()},
            behaviour={name: Measure.from_dict(measure) for name, measure in row.get("behaviour", {}).items()},
            sizes=row.get("sizes", {}),
        )


MEASURES = (*SHARES, *MEANS, "exact_match_on_changes", "reversal_rate")
FIRST_MEASURES = (*SHARES, *MEANS[:2], "exact_match_on_changes")


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The answers of one mode: all together, and by the tasks' family and language (names in alphabetical order)."""

    overall: Metrics
    families: Mapping[str, Metrics]
    languages: Mapping[str, Metrics]

    def to_dict(self) -> dict[str, Any]:
        return {
            "overall": self.overall.to_dict(),
            "families": {name: metrics.to_dict() for name, metrics in self.families.items()},
            "languages": {name: metrics.to_dict() for name, metrics in self.languages.items()},
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Breakdown:
        return cls(
            Metrics.from_dict(row["overall"]),
            {name: Metrics.from_dict(metrics) for name, metrics in row["families"].items()},
            {name: Metrics.from_dict(metrics) for name, metrics in row["languages"].items()},
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """An evaluation: one greedy answer a task, several sampled ones, or both. `constants`: the name of delta-chrF's, None of
    a run that knew but one definition, which was another."""

    greedy: Breakdown | None
    sampled: Breakdown | None
    constants: str | None = NEWEST

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what could not be measured is null, never NaN. `from_dict` is the inverse."""
        modes = {mode: breakdown.to_dict() if breakdown else None for mode, breakdown in self.by_mode().items()}
        return {**modes, "delta_chrf_constants": self.constants}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Summary:
        modes = (Breakdown.from_dict(row[mode]) if row.get(mode) else None for mode in MODES)
        return cls(*modes, row.get("delta_chrf_constants"))

    def by_mode(self) -> dict[Mode, Breakdown | None]:
        return {"greedy": self.greedy, "sampled": self.sampled}

    def metrics(self) -> dict[str, float]:
        """The overall numbers under the names of metrics.jsonl: greedy as val/exact_match, sampled as
        val/sampled/exact_match; exact match with the ends of its interval (_low, _high)."""
        row: dict[str, float] = {}
        for mode, breakdown in self.by_mode().items():
            if breakdown is None:
                continue
            prefix = GREEDY if mode == "greedy" else SAMPLED
            overall = breakdown.overall
            found: dict[str, float | None] = {name: getattr(overall, name).value for name in MEASURES}
            found |= {name: overall.behaviour[name].value for name in TRACKED if name in overall.behaviour}
            found |= {"exact_match_low": overall.exact_match.low, "exact_match_high": overall.exact_match.high}
            found |= {"response_tokens": overall.response_tokens}
            found |= {f"pass@{k}": measure.value for k, measure in overall.pass_at.items()}
            row |= {prefix + name: value for name, value in found.items() if value is not None}
        return row


def summarise(predictions: Sequence[Prediction], seed: int = 0, constants: str = NEWEST) -> Summary:
    """Measures greedy and sampled answers apart. `seed` is the bootstrap's, `constants` the name of delta-chrF's. Raises
    DataError where a mode has the same sample of a task twice: shares would count it twice."""
    parts = (_breakdown([one for one in predictions if one.mode == mode], mode, seed, constants) for mode in MODES)
    return Summary(*parts, constants)


def _breakdown(predictions: list[Prediction], mode: Mode, seed: int, constants: str) -> Breakdown | None:
    if not predictions:
        return None
    repeated = [key for key, count in Counter((one.task_id, one.sample) for one in predictions).items() if count > 1]
    if repeated:
        raise DataError(f"task {repeated[0][0]}: {mode} sample {repeated[0][1]} is there twice; task ids must be unique")
    scores = [score(one, CONSTANTS[constants]) for one in predictions]
    overall = _metrics(predictions, scores, mode, seed)

    def measured(names: list[str]) -> dict[str, Metrics]:
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            rows.setdefault(name, []).append(row)
        if len(rows) == 1:
            return dict.fromkeys(rows, overall)
        return {
            name: _metrics([predictions[row] for row in rows[name]], [scores[row] for row in rows[name]], mode, seed)
            for name in sorted(rows)
        }

    return Breakdown(
        overall=overall,
        families=measured([one.family for one in predictions]),
        languages=measured([one.language for one in predictions]),
    )


def _columns(predictions: Sequence[Prediction], scores: Sequence[Scores]) -> np.ndarray:
    """(N, SHARES and MEANS), float64: each prediction's own numbers."""
    rows = [
        (
            own.exact_match, own.strict_match, one.is_noop, one.malformed is not None, one.is_truncated,
            *(getattr(own, name) for name in MEANS),
        )
        for one, own in zip(predictions, scores, strict=True)
    ]  # fmt: skip
    return np.array(rows, dtype=np.float64)


def _metrics(predictions: Sequence[Prediction], scores: Sequence[Scores], mode: Mode, seed: int) -> Metrics:
    index: dict[str, int] = {}
    task_of = np.array([index.setdefault(one.task_id, len(index)) for one in predictions])
    samples = np.bincount(task_of)
    # (T, columns): the task's own means
    means = (
        np.stack([np.bincount(task_of, weights=column) for column in _columns(predictions, scores).T], axis=1)
        / samples[:, None]
    )
    changes = np.zeros(len(index), dtype=bool)
    changes[task_of] = [one.changes_something for one in predictions]
    columns = (*SHARES, *MEANS)
    picked = means[changes][:, [columns.index(name) for name in ON_CHANGES]]
    reversible = [row for row, one in enumerate(predictions) if one.undone is not None]
    reversals = _task_means([predictions[row].is_reversal for row in reversible], task_of[reversible])
    pass_at: dict[int, Measure] = {}
    if mode == "greedy":
        shares = [wilson(int(column.sum()), len(index)) for column in means[:, : len(SHARES)].T]
        measures = [*shares, *measure_means(means[:, len(SHARES) :], seed)]
        on_changes = [
            *(wilson(int(column.sum()), len(picked)) for column in picked[:, :2].T),
            *measure_means(picked[:, 2:], seed),
        ]
        reversal_rate = wilson(int(reversals.sum()), len(reversals))
    else:
        reported = [k for k in PASS_AT if k <= samples.min()]
        correct = np.rint(means[:, 0] * samples).astype(int)
        passed = np.stack([pass_at_k(samples, correct, k) for k in reported], axis=1)
        measures = measure_means(np.hstack([means, passed]), seed)
        pass_at = dict(zip(reported, measures[means.shape[1] :], strict=True))
        on_changes = measure_means(picked, seed)
        reversal_rate = measure_means(reversals[:, None], seed)[0]
    reasons = Counter(one.malformed for one in predictions if one.malformed is not None)
    # 0: no answer was generated, or the server did not say how long it is
    lengths = [one.tokens for one in predictions if one.finish_reason != NOT_GENERATED and one.tokens > 0]
    return Metrics(
        tasks=len(index),
        predictions=len(predictions),
        changing_tasks=int(changes.sum()),
        **dict(zip(columns, measures[: len(columns)], strict=True)),
        exact_match_on_changes=on_changes[0],
        reversible_tasks=len(reversals),
        reversal_rate=reversal_rate,
        on_changes=dict(zip(ON_CHANGES, on_changes, strict=True)),
        response_tokens=float(np.mean(lengths)) if lengths else None,
        malformed_reasons={reason: count / len(predictions) for reason, count in sorted(reasons.items())},
        pass_at=pass_at,
        behaviour=behaviour(predictions, scores, task_of, mode, seed),
        sizes=sizes(predictions, scores),
    )


def _task_means(values: Sequence[bool], task_of: np.ndarray) -> np.ndarray:
    """The mean of the values of each task that has any."""
    tasks, rows = np.unique(task_of, return_inverse=True)
    return (
        np.bincount(rows, weights=np.asarray(values, dtype=np.float64), minlength=len(tasks)) / np.bincount(rows)[: len(tasks)]
    )
