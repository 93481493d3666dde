"""The laboratory in parameters: how near the gradient from groups of G comes to the gradient from the whole pool.

The gradient of a prompt is the mean over its completions of advantage x gradient of the log-likelihood; the true one has the
pool's advantages and all of its completions. An update is the mean over all prompts, a group of each. Everything is measured on
sketches of the gradients (`gapo_cli.training.gradient_sketches`), whose scalar products are those of the gradients but for an
error that is the same for all estimators. The drawn group is a part of the pool, for all estimators alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.lab.comparison import bounds, resample_counts
from gapo_cli.lab.replay import Draws, Pool, Variant, advantages, draw
from gapo_cli.statistics.intervals import Measure

MEASURES = ("agreement", "update_cosine", "noise", "zero", "per_computed")
"""agreement: cosine between a group's gradient and its prompt's true one, of all prompts and trials together (products and
squares added up before they are divided); update_cosine: cosine between an update and the true update, mean over trials; noise:
variance of an update over the square of its mean, both as vectors; zero: share of advantages that are 0; per_computed: the square of
update_cosine over the share of advantages that are not 0."""


@dataclass(frozen=True)
class GradientFindings:
    """One estimator at one group size: `measures` by name in MEASURES, with intervals over prompts. `difference`: update_cosine less
    that of the first estimator at the same size, the prompts of both drawn together; empty for the first."""

    variant: Variant
    group_size: int
    measures: Mapping[str, Measure]
    difference: Measure


@dataclass(frozen=True)
class Products:
    """Scalar products of one estimator's gradients, from which every measure follows for any weights of the prompts.

    `with_truth` (T, P, P): the gradient of prompt p in trial t with the true one of prompt q; `squares` (T, P, P): with that of prompt q
    in the same trial; `of_means` (P, P): between the means over trials; `true` (P, P): between the true ones. `zero` (P,): share of
    advantages that are 0."""

    with_truth: np.ndarray
    squares: np.ndarray
    of_means: np.ndarray
    true: np.ndarray
    zero: np.ndarray

    @property
    def trials(self) -> int:
        return len(self.squares)

    @cached_property
    def own_with_truth(self) -> np.ndarray:
        """(P,) of each prompt's gradients with its own true one, added up over trials."""
        return np.einsum("tpp->p", self.with_truth)

    @cached_property
    def own_squares(self) -> np.ndarray:
        """(P,) of each prompt's gradients with themselves, added up over trials."""
        return np.einsum("tpp->p", self.squares)


def compare_gradients(
    pool: Pool,
    sketches: Sequence[np.ndarray],
    variants: Sequence[Variant],
    group_sizes: Sequence[int],
    trials: int,
    seed: int,
    progress: Progress = no_progress,
) -> list[GradientFindings]:
    """`sketches`: (N, K) of each of the pool's P prompts. All variants see the same draws."""
    true = np.stack([_mean_gradient(truth, own) for truth, own in zip(pool.truth, sketches, strict=True)])
    draws = _all_draws(pool, max(group_sizes), trials, seed)
    prompts = len(sketches)
    # all of them, then what the bootstrap draws; one prompt has no interval
    weightings = [np.ones(prompts), *(resample_counts(prompts, seed) if prompts > 1 else ())]
    found: list[GradientFindings] = []
    for size in group_sizes:
        first: np.ndarray | None = None
        for variant in variants:
            products = _products(variant, draws.first(size), sketches, true)
            rows = np.stack([measures_of(products, weights) for weights in weightings])
            difference = Measure() if first is None else _measure((rows - first)[:, MEASURES.index("update_cosine")])
            measures = {name: _measure(rows[:, at]) for at, name in enumerate(MEASURES)}
            found.append(GradientFindings(variant, size, measures, difference))
            first = rows if first is None else first
            progress("comparing gradients", len(found), len(group_sizes) * len(variants))
    return found


def _mean_gradient(weights: np.ndarray, sketches: np.ndarray) -> np.ndarray:
    present = ~np.isnan(weights)
    return weights[present] @ sketches[: len(weights)][present] / present.sum()


def _all_draws(pool: Pool, size: int, trials: int, seed: int) -> Draws:
    blocks = [draws for _, draws in draw(pool, size, trials, seed)]
    fields = Draws.__dataclass_fields__
    return replace(blocks[0], **{name: np.concatenate([getattr(one, name) for one in blocks]) for name in fields})


def _products(variant: Variant, draws: Draws, sketches: Sequence[np.ndarray], true: np.ndarray) -> Products:
    estimated = advantages(variant, draws, None)
    prompts, trials, size = estimated.shape
    gradients = np.empty((trials, prompts, true.shape[1]), dtype=np.float32)
    for prompt, own in enumerate(sketches):
        weights = np.zeros((trials, len(own)), dtype=np.float32)
        np.put_along_axis(weights, draws.places[prompt], estimated[prompt].astype(np.float32), axis=1)
        gradients[:, prompt] = weights @ own / size
    means = gradients.mean(axis=0)
    return Products(
        with_truth=gradients @ true.T.astype(np.float32),
        squares=gradients @ gradients.transpose(0, 2, 1),
        of_means=means @ means.T,
        true=true @ true.T,
        zero=(estimated == 0).mean(axis=(1, 2)),
    )


def measures_of(products: Products, weights: np.ndarray) -> np.ndarray:
    """(len(MEASURES),) with the prompts weighted by `weights` (P,); NaN where nothing is defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        product = weights @ products.own_with_truth
        square = weights @ products.own_squares
        agreement = product / np.sqrt(square * products.trials * (weights @ np.diag(products.true)))
        updates, lengths = ((one @ weights) @ weights for one in (products.with_truth, products.squares))
        true = weights @ products.true @ weights
        # an update of advantages that are all 0 points nowhere
        update_cosine = np.where(lengths > 0, updates / np.sqrt(lengths * true), 0).mean() if true > 0 else np.nan
        mean_square = weights @ products.of_means @ weights
        trials = products.trials
        variance = (lengths.mean() - mean_square) * trials / (trials - 1) if trials > 1 else np.nan
        signal = mean_square - variance / trials
        noise = variance / signal if signal > 0 else np.nan
        zero = weights @ products.zero / weights.sum()
        return np.array([agreement, update_cosine, noise, zero, update_cosine**2 / (1 - zero)])


def _measure(rows: np.ndarray) -> Measure:
    """The value (the first of the rows) with the interval of the others, which the bootstrap drew."""
    if np.isnan(rows[0]):
        return Measure()
    low, high = bounds(rows[1:, None])[:, 0] if len(rows) > 1 else (np.nan, np.nan)
    return (
        Measure(float(rows[0])) if np.isnan(low) else Measure(float(rows[0]), float(low), float(high), "bootstrap over prompts")
    )
