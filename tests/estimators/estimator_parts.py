"""Every estimator of conf/estimator, built from its own yaml, so that a new one is tested without being listed here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

FOLDER = Path(__file__).parents[2] / "conf" / "estimator"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def build(name: str, **settings: float):
    return instantiate(OmegaConf.merge(OmegaConf.load(FOLDER / f"{name}.yaml"), settings))
