"""What one prediction scores, against the acceptable target that it comes nearest to.

Every measure of a prediction is of the same target: that which it equals, else the best by delta-chrF, then by its changed
lines; on a tie, the last, as in Zed's evaluation. A last line without its line end gets one, as an editor gives it, except
where texts are compared for being equal. A malformed answer is 0 in every similarity and changes no line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from gapo_cli.edits import matching
from gapo_cli.edits.delta_chrf import Constants, delta_chrf
from gapo_cli.edits.kept import kept
from gapo_cli.edits.measures import changed_lines, chrf
from gapo_cli.edits.partial_reversal import reversal_ratio
from gapo_cli.edits.patch_measures import LineCounts, cursor_distance, ended, exact_lines, has_isolated_blanks, is_wrong_region
from gapo_cli.evaluation.predictions import Prediction

NO_CHANGE = LineCounts(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Scores:
    """`best`: the place of the target among the prediction's targets. `wrong_region` is None where no edit was made,
    `cursor_distance` (bytes) where the answer or the task does not say where the cursor goes."""

    best: int = 0
    exact_match: bool = False
    strict_match: bool = False
    edit_similarity: float = 0.0
    bleu: float = 0.0
    chrf: float = 0.0
    delta_chrf: float = 0.0
    changed_lines_precision: float = 0.0
    changed_lines_recall: float = 0.0
    kept_rate: float = 0.0
    kept_recall: float = 0.0
    reversal_ratio: float = 0.0
    lines: LineCounts = NO_CHANGE
    wrong_region: bool | None = None
    isolated_blanks: bool = False
    cursor_distance: int | None = None


def score(prediction: Prediction, constants: Constants) -> Scores:
    """All measures of one prediction."""
    before, region = prediction.before, prediction.region
    if region is None:
        lines = [exact_lines(before, before, target) for target in prediction.targets]
        # as if nothing had been changed: of the targets the one that misses least
        best = min(range(len(lines)), key=lambda place: lines[place].missed)
        return Scores(best=best, lines=lines[best])
    measured = _against(before, region, prediction.targets, constants)
    wrong, isolated = _alone(before, region, prediction.cursor)
    right_cursor = prediction.cursor_after if measured.best == 0 else None
    return Scores(
        **{name: getattr(measured, name) for name in OF_TARGET},
        reversal_ratio=reversal_ratio(prediction.previous and ended(prediction.previous), ended(before), ended(region)),
        wrong_region=wrong,
        isolated_blanks=isolated,
        cursor_distance=cursor_distance(region, prediction.cursor, prediction.target, right_cursor),
    )


OF_TARGET = (
    "best", "exact_match", "strict_match", "edit_similarity", "bleu", "chrf", "delta_chrf", "changed_lines_precision",
    "changed_lines_recall", "kept_rate", "kept_recall", "lines",
)  # fmt: skip


@lru_cache(maxsize=4096)  # samples of a task are often alike
def _against(before: str, region: str, targets: tuple[str, ...], constants: Constants) -> Scores:
    """The measures that depend on the target, of the one that the region comes nearest to."""
    best = 0
    old, new = ended(before), ended(region)
    if len(targets) > 1:
        best = max(
            range(len(targets)),
            key=lambda place: (
                matching.exact_match(region, targets[place]),
                delta_chrf(old, new, ended(targets[place]), constants),
                exact_lines(before, region, targets[place]).f1,
                place,
            ),
        )
    target = targets[best]
    precision, recall = changed_lines(before, region, target)
    rate, kept_recall = kept(old, new, ended(target))
    return Scores(
        best=best,
        exact_match=matching.exact_match(region, target),
        strict_match=matching.strict_match(region, target),
        edit_similarity=matching.edit_similarity(region, target),
        bleu=matching.bleu(region, target),
        chrf=chrf(region, target),
        delta_chrf=delta_chrf(old, new, ended(target), constants),
        changed_lines_precision=precision,
        changed_lines_recall=recall,
        kept_rate=rate,
        kept_recall=kept_recall,
        lines=exact_lines(before, region, target),
    )


@lru_cache(maxsize=4096)
def _alone(before: str, region: str, cursor: int | None) -> tuple[bool | None, bool]:
    return is_wrong_region(before, region), has_isolated_blanks(before, region, cursor)
