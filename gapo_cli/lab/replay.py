"""Estimators on groups drawn from pools: what each would have made of G of a prompt's N saved completions.

All estimators see the same draws, and a smaller group is the beginning of a larger one, so that differences between estimators
and settings are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gapo_cli.config.corruption import Corruption
from gapo_cli.errors import DataError
from gapo_cli.interfaces import Estimator
from gapo_cli.lab.saved_rewards import SavedRewards
from gapo_cli.records import EQUAL_WITHIN

BLOCK = 2_000_000
"""Completions whose draws are held in memory at a time (some 16 MB an array)."""

PREFERRED_TAU = 0.5
"""The paper's; where an estimator is shown at one tau only, it is this one, if it was asked for."""


@dataclass(frozen=True)
class Variant:
    """One estimator with its settings, as "gapo tau=0.5". `varied` is what of them is plotted against: (name, value)."""

    name: str
    family: str
    estimator: Estimator
    varied: tuple[tuple[str, float], ...] = ()


def main_variants(variants: Sequence[Variant]) -> list[Variant]:
    """One variant an estimator: with tau = 0.5 where that is among them, else its first."""
    chosen: dict[str, Variant] = {}
    for variant in variants:
        if variant.family not in chosen or dict(variant.varied).get("tau") == PREFERRED_TAU:
            chosen[variant.family] = variant
    return list(chosen.values())


@dataclass(frozen=True)
class Pool:
    """Prompts whose pools have spread. `rewards`, `lengths`, `truth` (P, N), NaN = missing; truth is (r - mu) / sigma of the
    prompt's pool. `without_spread`, `too_small`: prompts that were left out."""

    saved: SavedRewards
    truth: np.ndarray
    without_spread: int
    too_small: int
    missing: int


@dataclass(frozen=True)
class Draws:
    """`trials` groups of each of P prompts: all (P, trials, G). `places`: the completions' numbers in the pool. `chosen` and
    `values` are uniform numbers for Corruption."""

    places: np.ndarray
    rewards: np.ndarray
    truth: np.ndarray
    lengths: np.ndarray
    chosen: np.ndarray
    values: np.ndarray

    def first(self, size: int) -> Draws:
        return Draws(*(getattr(self, name)[..., :size] for name in self.__dataclass_fields__))


def make_pool(saved: SavedRewards, largest_group: int) -> Pool:
    """Raises DataError where no prompt is left: all have fewer rewards than the largest group asked for, or all are equal."""
    completions = saved.rewards.shape[1]
    if largest_group > completions:
        raise DataError(
            f"group_size={largest_group}: {saved.name} has {completions} completions a prompt; need a group that fits in, or a "
            "larger pool (gapo rollout sampling.group_size=128)"
        )
    enough = saved.present >= largest_group
    if not enough.any():
        raise DataError(
            f"{saved.name}: no prompt has the {largest_group} rewards that the largest group needs, the others are missing; "
            "choose a smaller group_size, or make the rollouts again"
        )
    wide = np.nanmax(saved.rewards[enough], axis=1) - np.nanmin(saved.rewards[enough], axis=1) > EQUAL_WITHIN
    if not wide.any():
        raise DataError(f"{saved.name}: every prompt's rewards are all equal, so there is nothing to estimate")
    kept = saved.only(np.flatnonzero(enough)[wide])
    mean = np.nanmean(kept.rewards, axis=1, keepdims=True)
    deviation = np.nanstd(kept.rewards, axis=1, keepdims=True)
    return Pool(
        saved=kept,
        truth=(kept.rewards - mean) / deviation,
        without_spread=int((~wide).sum()),
        too_small=int((~enough).sum()),
        missing=int(np.isnan(kept.rewards).sum()),
    )


def draw(pool: Pool, size: int, trials: int, seed: int) -> Iterator[tuple[np.ndarray, Draws]]:
    """For blocks of prompts, the places of them and `trials` groups of `size` completions each, drawn without replacement. What a
    prompt gets depends on its place and `seed`, not on the blocks."""
    prompts, completions = pool.saved.rewards.shape
    block = max(1, BLOCK // (trials * completions))
    for start in range(0, prompts, block):
        places = np.arange(start, min(start + block, prompts))
        keys, chosen, values = [], [], []
        for place in places:
            generator = np.random.default_rng([seed, int(place)])
            keys.append(generator.random((trials, completions), dtype=np.float32))
            chosen.append(generator.random((trials, size)))
            values.append(generator.random((trials, size)))
        order = np.stack(keys)
        missing = np.isnan(pool.saved.rewards[places])
        # a missing reward comes last, and there are `size` others
        order[np.broadcast_to(missing[:, None], order.shape)] = 2
        picked = np.argsort(order, axis=2)[..., :size]
        yield (
            places,
            Draws(
                picked,
                *(
                    np.take_along_axis(of[places][:, None], picked, axis=2)
                    for of in (pool.saved.rewards, pool.truth, pool.saved.lengths)
                ),
                np.stack(chosen),
                np.stack(values),
            ),
        )


def advantages(variant: Variant, draws: Draws, corruption: Corruption | None) -> np.ndarray:
    """(P, trials, G) advantages from the rewards as they are seen."""
    seen = draws.rewards if corruption is None else corruption.apply(draws.rewards, draws.chosen, draws.values)
    size = seen.shape[-1]
    return variant.estimator(seen.reshape(-1, size), draws.lengths.reshape(-1, size)).values.reshape(seen.shape)


def reward_curve(variant: Variant, others: Sequence[float], points: int = 81) -> tuple[np.ndarray, np.ndarray]:
    """What a completion's advantage is when its reward goes from 0 to 1 while the `others` of its group stay: the estimator at a
    glance. Returns rewards and advantages, (points,) each."""
    rewards = np.linspace(0, 1, points)
    groups = np.concatenate([rewards[:, None], np.broadcast_to(np.asarray(others), (points, len(others)))], axis=1)
    return rewards, variant.estimator(groups, np.ones_like(groups)).values[:, 0]
