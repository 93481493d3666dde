"""How near estimated advantages come to the true ones, with intervals over prompts, paired between estimators.

The truth of a completion is (r - mu) / sigma over its prompt's whole pool. Agreement is the cosine between estimated and true
advantages over all completions of all prompts and trials: if completions' log-likelihood gradients were orthogonal and of equal
length it would be the cosine between the estimated and the true policy gradient, and its square the share of the update that points
the right way. Prompts are the independent units, so they are what the bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.config.corruption import Corruption
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.lab.replay import Pool, Variant, advantages, draw
from gapo_cli.statistics.intervals import RESAMPLES, Measure
from gapo_cli.statistics.reward_shapes import SHAPES, group_shapes

SUMS = ("count", "product", "square", "truth", "zero", "negative", "wrong", "first", "third", "fourth")
"""What is added up a prompt: numbers of completions, A·a, A², a², how many A are 0, below 0, or of the wrong sign, A, A³, A⁴."""
HARD_BELOW, EASY_ABOVE = 1 / 3, 2 / 3
"""Mean reward of a prompt's pool."""
LEVELS = ("hard", "middle", "easy")


@dataclass(frozen=True, eq=False)
class Cell:
    """One estimator at one group size under one corruption: `sums` (P, len(SUMS)) over its trials. It equals itself alone."""

    variant: Variant
    group_size: int
    corruption: Corruption | None
    sums: np.ndarray

    @property
    def noise(self) -> float:
        return self.corruption.probability if self.corruption else 0.0


@dataclass(frozen=True)
class Findings:
    """Measures of one cell over some of the prompts, by name in MEASURES."""

    cell: Cell
    part: str
    prompts: int
    measures: Mapping[str, Measure]


MEASURES = ("agreement", "right_way", "per_computed", "zero", "negative", "wrong_sign", "mean", "kurtosis")


def replay_all(
    pool: Pool,
    variants: Sequence[Variant],
    group_sizes: Sequence[int],
    corruptions: Sequence[Corruption | None],
    trials: int,
    seed: int,
    progress: Progress = no_progress,
) -> list[Cell]:
    """Every variant at every size under every corruption, on the same draws."""
    keys = [(variant, size, corruption) for corruption in corruptions for size in group_sizes for variant in variants]
    sums = {key: np.zeros((len(pool.truth), len(SUMS))) for key in range(len(keys))}
    for places, draws in draw(pool, max(group_sizes), trials, seed):
        smaller = {size: draws.first(size) for size in group_sizes}
        for number, (variant, size, corruption) in enumerate(keys):
            estimated = advantages(variant, smaller[size], corruption)
            sums[number][places] = add_up(estimated, smaller[size].truth)
            progress("replaying", int(places[0]) * len(keys) + (number + 1) * len(places), len(pool.truth) * len(keys))
    return [Cell(*key, sums[number]) for number, key in enumerate(keys)]


def add_up(estimated: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(P, trials, G) of both → (P, len(SUMS))."""
    product = estimated * truth
    square = estimated * estimated
    over = (1, 2)
    return np.stack(
        [
            np.full(len(estimated), float(np.prod(estimated.shape[1:]))),
            product.sum(axis=over),
            square.sum(axis=over),
            (truth * truth).sum(axis=over),
            (estimated == 0).sum(axis=over),
            (estimated < 0).sum(axis=over),
            (product < 0).sum(axis=over),
            estimated.sum(axis=over),
            (square * estimated).sum(axis=over),
            (square * square).sum(axis=over),
        ],
        axis=1,
    )


def measures_of(totals: np.ndarray) -> np.ndarray:
    """(..., len(SUMS)) → (..., len(MEASURES)); NaN where nothing is defined, as the agreement of advantages that are all 0."""
    total = dict(zip(SUMS, np.moveaxis(totals, -1, 0), strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        count = total["count"]
        agreement = total["product"] / np.sqrt(total["square"] * total["truth"])
        mean = total["first"] / count
        second = total["square"] / count
        variance = second - mean**2
        fourth = total["fourth"] / count - 4 * mean * total["third"] / count + 6 * mean**2 * second - 3 * mean**4
        zero = total["zero"] / count
        # rounding leaves a variance of some 1e-17 where all are equal
        kurtosis = np.where(variance > 1e-12, fourth / variance**2 - 3, np.nan)
        return np.stack(
            [
                agreement,
                agreement**2,
                agreement**2 / (1 - zero),
                zero,
                total["negative"] / count,
                total["wrong"] / count,
                mean,
                kurtosis,
            ],
            axis=-1,
        )


def resample_counts(prompts: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """(resamples, P): how often each prompt is drawn; the same for all cells, which pairs them."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples).astype(np.float64)


def find(cells: Sequence[Cell], chosen: np.ndarray, part: str, seed: int) -> list[Findings]:
    """The measures of each cell over the prompts under the mask `chosen`, with 95 % percentile-bootstrap intervals."""
    prompts = int(chosen.sum())
    if not prompts:
        return []
    counts = resample_counts(prompts, seed)
    return [Findings(cell, part, prompts, _measures(cell.sums[chosen], counts)) for cell in cells]


def _measures(sums: np.ndarray, counts: np.ndarray) -> dict[str, Measure]:
    values = measures_of(sums.sum(axis=0))
    if len(sums) < 2:
        return {name: _alone(value) for name, value in zip(MEASURES, values, strict=True)}
    low, high = bounds(measures_of(counts @ sums))
    return {
        name: _alone(value)
        if np.isnan(value)
        else Measure(float(value), float(low[at]), float(high[at]), "bootstrap over prompts")
        for at, (name, value) in enumerate(zip(MEASURES, values, strict=True))
    }


def _alone(value: float) -> Measure:
    return Measure() if np.isnan(value) else Measure(float(value))


def bounds(drawn: np.ndarray) -> np.ndarray:
    """(resamples, M) → (2, M): the 2.5 % and 97.5 % quantiles of what is defined, NaN where nothing is."""
    tails = [0.025, 0.975]
    undefined = np.isnan(drawn)
    if not undefined.any():
        return np.quantile(drawn, tails, axis=0)
    columns = [drawn[~undefined[:, at], at] for at in range(drawn.shape[1])]
    return np.stack([np.quantile(one, tails) if len(one) else np.full(2, np.nan) for one in columns], axis=1)


def difference(cell: Cell, other: Cell, measure: str, seed: int) -> Measure:
    """`cell` less `other` in one measure, over the prompts of both drawn together."""
    at = MEASURES.index(measure)
    value = measures_of(cell.sums.sum(axis=0))[at] - measures_of(other.sums.sum(axis=0))[at]
    if np.isnan(value) or len(cell.sums) < 2:
        return _alone(value)
    counts = resample_counts(len(cell.sums), seed)
    drawn = measures_of(counts @ cell.sums)[:, at] - measures_of(counts @ other.sums)[:, at]
    low, high = bounds(drawn[:, None])[:, 0]
    return Measure(float(value), float(low), float(high), "bootstrap over prompts")


def parts_of(pool: Pool) -> dict[str, np.ndarray]:
    """Part of the prompts → mask: all of them, by the shape of their pool, and by its mean."""
    shapes = group_shapes(pool.saved.rewards)
    mean = np.nanmean(pool.saved.rewards, axis=1)
    levels = np.where(mean < HARD_BELOW, "hard", np.where(mean > EASY_ABOVE, "easy", "middle"))
    parts = {"all": np.ones(len(mean), dtype=bool)}
    parts |= {shape: shapes == shape for shape in SHAPES if shape != "zero"}
    return parts | {level: levels == level for level in LEVELS}
