"""What paired differences allow to say, in words: better, worse, equal within delta, or undecided and what would decide.

Better and worse come from the paired t test, equal from two one-sided tests within +-delta; both p are corrected for the number
of comparisons made side by side (Holm 1979). A difference that is there and smaller than delta is "equal": delta is the smallest
that matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gapo_cli.statistics.seed_differences import SeedDifference, seed_difference
from gapo_cli.statistics.seed_power import ALPHA, equivalence_p, seeds_for_power, seeds_to_decide

Word = Literal["better", "worse", "equal", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`word` and the `sentence` that explains it. `p`: of the paired t test (of the sign flips where all differences are equal),
    `equal_p`: of the equivalence within `delta`, both after Holm's correction. `more_seeds`: how many would decide if mean and
    spread stayed as they are, None where decided or not known. `seeds_for_delta`: how many pairs show a difference of delta with
    power 0.8 at the spread seen."""

    word: Word
    sentence: str
    difference: SeedDifference
    delta: float
    p: float | None = None
    equal_p: float | None = None
    more_seeds: int | None = None
    seeds_for_delta: int | None = None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: each p times the number of hypotheses that are not rejected before it, never falling, at
    most 1. Controls the chance of any false claim."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected.tolist()


def verdicts(differences: Mapping[str, Sequence[float] | np.ndarray], delta: float, unit: str = "") -> dict[str, Verdict]:
    """A verdict for each named comparison, from its differences (n,) by seed; they are one family for Holm's correction. A
    comparison without two seeds can't be tested and is not counted. `delta` >= 0, `unit` is put after numbers. Raises
    ValueError for a negative delta."""
    if delta < 0:
        raise ValueError(f"delta={delta}: need 0 or more")
    found = {name: seed_difference(values) for name, values in differences.items()}
    tested = [name for name, one in found.items() if one.seeds > 1]
    p_of = dict(zip(tested, holm([p_to_use(found[name]) for name in tested]), strict=True))
    equal_of = dict(zip(tested, holm([equivalence_p(found[name], delta) or 0.0 for name in tested]), strict=True))
    return {name: _verdict(one, delta, p_of.get(name), equal_of.get(name), unit) for name, one in found.items()}


def verdict(differences: Sequence[float] | np.ndarray, delta: float, unit: str = "") -> Verdict:
    """The verdict on one comparison alone."""
    return verdicts({"": differences}, delta, unit)[""]


def p_to_use(found: SeedDifference) -> float:
    p = found.t_p if found.t_p is not None else found.flip_p
    return 1.0 if p is None else p


def signed(value: float) -> str:
    """Four digits; what rounding leaves of differences that are 0 in sum is 0."""
    return f"{round(value, 9) + 0.0:+.4g}"


def amount(value: float, unit: str) -> str:
    """A number with its unit, which is a plural."""
    return f"{value:g}{unit.removesuffix('s') if value == 1 else unit}"


def _verdict(found: SeedDifference, delta: float, p: float | None, equal_p: float | None, unit: str) -> Verdict:
    if found.seeds < 2 or found.mean is None or p is None or equal_p is None:
        return Verdict("undecided", _too_few(found, unit), found, delta)
    seen = f"{signed(found.mean)}{unit}"
    if found.low is not None:
        seen += f", 95 % interval {signed(found.low)} to {signed(found.high)}{unit}"
    seen += f", {found.seeds} seeds"
    enough = seeds_for_power(found.std or 0.0, delta)
    differs, equal = p < ALPHA, equal_p < ALPHA and delta > 0
    if equal:
        rest = f"; a difference is there (p = {p:.2g}), and smaller than matters" if differs else ""
        return Verdict("equal", f"equal within {amount(delta, unit)}: {seen}{rest}", found, delta, p, equal_p, None, enough)
    if differs:
        word: Word = "better" if found.mean > 0 else "worse"
        return Verdict(word, f"{word}: {seen}, p = {p:.2g}", found, delta, p, equal_p, None, enough)
    total = seeds_to_decide(found, delta)
    more = max(1, total - found.seeds) if total is not None else None
    sentence = f"undecided: {seen}, p = {p:.2g}; " + _what_would_decide(more, enough, delta, unit)
    return Verdict("undecided", sentence, found, delta, p, equal_p, more, enough)


def _too_few(found: SeedDifference, unit: str) -> str:
    if found.mean is None:
        return "undecided: there is no pair of runs with the same seed"
    return (
        f"undecided: {signed(found.mean)}{unit} in the one pair there is; with one seed nothing can be said about how much of it is "
        "chance, at least 2 are needed"
    )


def _what_would_decide(more: int | None, enough: int | None, delta: float, unit: str) -> str:
    parts = []
    if more is not None:
        parts.append(f"about {more} more {'seed' if more == 1 else 'seeds'} would decide if mean and spread stay as they are")
    if enough is not None and delta > 0:
        parts.append(f"{enough} seeds in all show a difference of {amount(delta, unit)} with power 0.8")
    return "; ".join(parts) or "all differences are equal, so how many more seeds would decide is not known"
