"""One source of saved rewards through the laboratory: a pool is compared with its truth, training groups with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gapo_cli.config.checks import require
from gapo_cli.config.corruption import Corruption
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.lab.comparison import Cell, Findings, difference, find, parts_of, replay_all
from gapo_cli.lab.replay import Pool, Variant, make_pool
from gapo_cli.lab.saved_rewards import SavedRewards, read_saved
from gapo_cli.lab.without_pool import GroupFindings, ShapesAtStep, compare_on_groups, shapes_by_step
from gapo_cli.statistics.intervals import Measure

LARGEST_DEFAULT_SHARE = 4
"""Where no group size is named, those are taken that fit into a pool so many times: larger ones share most of their completions."""


@dataclass(frozen=True)
class LabSettings:
    """`group_sizes` None: 4, 8 and 16, as far as they fit. `smallest_pool`: completions a prompt from which rollouts count as a
    pool. `corruptions` are beside the rewards as they are. Raises UserError."""

    variants: tuple[Variant, ...]
    group_sizes: tuple[int, ...] | None = None
    corruptions: tuple[Corruption, ...] = ()
    trials: int = 64
    seed: int = 0
    smallest_pool: int = 64

    def __post_init__(self) -> None:
        for size in self.group_sizes or ():
            require(size >= 2, f"group_size={size}: need 2 or more")
        require(self.trials >= 1, f"trials={self.trials}: need 1 or more")
        require(self.seed >= 0, f"seed={self.seed}: need 0 or more")
        require(self.smallest_pool >= 2, f"smallest_pool={self.smallest_pool}: need 2 or more")

    def sizes_for(self, completions: int) -> tuple[int, ...]:
        if self.group_sizes is not None:
            return self.group_sizes
        return tuple(size for size in (4, 8, 16) if size * LARGEST_DEFAULT_SHARE <= completions) or (max(2, completions // 4),)


@dataclass(frozen=True)
class PoolResult:
    """`findings` for all prompts and for each part of them; `differences`: agreement less that of the first estimator at the same
    size and corruption, by the place of the cell."""

    pool: Pool
    cells: Sequence[Cell]
    findings: Sequence[Findings]
    differences: Sequence[Measure]


@dataclass(frozen=True)
class SourceResult:
    """`pool` None where the groups are too small to tell the truth."""

    saved: SavedRewards
    shapes: Sequence[ShapesAtStep]
    groups: Sequence[GroupFindings]
    pool: PoolResult | None = None
    notes: Sequence[str] = field(default_factory=tuple)


def examine(path: Path, name: str, settings: LabSettings, progress: Progress = no_progress) -> SourceResult:
    """Raises DataError for a path that holds no rollouts and for pools that cannot be used."""
    saved = read_saved(path)
    saved = SavedRewards(name, *(getattr(saved, key) for key in SavedRewards.__dataclass_fields__ if key != "name"))
    notes = missing_words(saved)
    shapes, groups = shapes_by_step(saved), compare_on_groups(saved, settings.variants)
    completions = saved.rewards.shape[1]
    if completions < settings.smallest_pool:
        notes.append(
            f"{completions} completions a prompt are no pool (smallest_pool={settings.smallest_pool}), so the true advantages are "
            "not known, and neither agreement nor corruption is measured; make one with gapo rollout sampling.group_size=128"
        )
        return SourceResult(saved, shapes, groups, notes=notes)
    sizes = settings.sizes_for(completions)
    pool = make_pool(saved, max(sizes))
    why = {"equal rewards only": pool.without_spread, f"fewer than {max(sizes)} rewards": pool.too_small}
    notes += left_out_notes(why, len(saved.rewards))
    cells = replay_all(pool, settings.variants, sizes, (None, *settings.corruptions), settings.trials, settings.seed, progress)
    findings = [one for part, chosen in parts_of(pool).items() for one in find(cells, chosen, part, settings.seed)]
    count = len(settings.variants)
    differences = [
        difference(cell, cells[at - at % count], "agreement", settings.seed) if at % count else Measure()
        for at, cell in enumerate(cells)
    ]
    return SourceResult(saved, shapes, groups, PoolResult(pool, cells, findings, differences), notes)


def left_out_notes(why: Mapping[str, int], of: int) -> list[str]:
    """A note a reason that leaves some of the `of` prompts out. `why`: reason → how many."""
    return [f"{count} of {of} prompts are left out: {reason}" for reason, count in why.items() if count]


def missing_words(saved: SavedRewards) -> list[str]:
    """A note on the completions that have no reward."""
    missing = int(np.sum(np.isnan(saved.rewards) & ~np.isnan(saved.lengths)))
    return [f"{missing} completions have no reward and are left out"] if missing else []
