"""Every estimator against a plain per-group one, on thousands of groups: ties, missing rewards, sizes 1 to 20."""

import numpy as np
import pytest
from advantage_oracle import group_advantages
from estimator_parts import NAMES, build

GROUPS = 40
SHARES = (0.05, 0.1, 0.3, 0.35, 0.5, 0.55, 0.7, 0.9, 0.999, 1.0)
SHARE_NAMES = {"gapo": "tau", "gapo_mean": "tau", "gapo_median_std": "tau", "quantile": "quantile"}
KINDS = {
    "sixty-fourths": lambda rng, shape: rng.integers(0, 65, shape) / 64,
    "few values, many ties": lambda rng, shape: rng.choice([0.0, 0.25, 0.5, 1.0], shape),
    "right or wrong": lambda rng, shape: rng.integers(0, 2, shape).astype(float),
    "any float": lambda rng, shape: rng.beta(2, 5, shape),
    "negative with a length penalty": lambda rng, shape: rng.integers(0, 33, shape) / 32 - rng.integers(0, 9, shape) / 8,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_vectorised_advantages_equal_the_plain_ones(name: str, kind: str):
    rng = np.random.default_rng([NAMES.index(name), list(KINDS).index(kind)])
    for size in range(1, 21):
        share = SHARES[size % len(SHARES)]
        rewards = KINDS[kind](rng, (GROUPS, size))
        rewards[rng.random(rewards.shape) < (0.2 if size % 2 else 0.0)] = np.nan
        lengths = rng.integers(1, 50, rewards.shape)
        estimator = build(name, **({SHARE_NAMES[name]: share} if name in SHARE_NAMES else {}))
        expected = [
            group_advantages(name, group, group_lengths, share)
            for group, group_lengths in zip(rewards.tolist(), lengths.tolist(), strict=True)
        ]
        np.testing.assert_allclose(estimator(rewards, lengths).values, expected, rtol=1e-9, atol=1e-9)
