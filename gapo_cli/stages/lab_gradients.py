"""gapo lab gradients: estimators compared by the gradients that they give, on the saved completions of a pool and with its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from gapo_cli.config.checks import require
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import DataError
from gapo_cli.hardware import usable_cores
from gapo_cli.interfaces import Display
from gapo_cli.lab.gradients import GradientFindings, compare_gradients
from gapo_cli.lab.laboratory import LARGEST_DEFAULT_SHARE, left_out_notes
from gapo_cli.lab.replay import Pool, Variant, make_pool
from gapo_cli.lab.saved_rewards import as_groups
from gapo_cli.records import EQUAL_WITHIN, Group
from gapo_cli.reports.gradient_tables import gradient_rows, gradient_table
from gapo_cli.reports.tables import Table
from gapo_cli.runs.claim import check_free
from gapo_cli.runs.group_files import iterate_groups
from gapo_cli.runs.layout import GRADIENTS_ROWS, GRADIENTS_TABLE, GRADIENTS_VALUES, ROLLOUT_FILE
from gapo_cli.storage.files import atomic_path, write_json, write_text


@dataclass(frozen=True)
class GradientSettings:
    """`prompts`: how many of the pool's prompts whose rewards have spread, evenly over it; `completions`: of each, the first so
    many. `sketch`: numbers that a gradient is folded to; one that shares no factor with the model's sizes keeps a matrix's columns apart.
    `group_sizes` None: 4, 8 and 16, as far as they fit. Raises UserError."""

    variants: tuple[Variant, ...]
    group_sizes: tuple[int, ...] | None = None
    prompts: int = 32
    completions: int = 64
    trials: int = 64
    seed: int = 0
    sketch: int = 8191

    def __post_init__(self) -> None:
        for size in self.group_sizes or ():
            require(size >= 2, f"group_size={size}: need 2 or more")
        for key, least in (("prompts", 1), ("completions", 4), ("trials", 2), ("sketch", 16)):
            require(getattr(self, key) >= least, f"{key}={getattr(self, key)}: need {least} or more")
        require(self.seed >= 0, f"seed={self.seed}: need 0 or more")

    @property
    def sizes(self) -> tuple[int, ...]:
        if self.group_sizes is not None:
            return self.group_sizes
        fitting = tuple(size for size in (4, 8, 16) if size * LARGEST_DEFAULT_SHARE <= self.completions)
        return fitting or (max(2, self.completions // 4),)


@dataclass(frozen=True)
class GradientResult:
    table: Table
    findings: tuple[GradientFindings, ...]
    files: tuple[Path, ...]


def lab_gradients(
    rollouts: Path,
    model: ModelConfig,
    trainer: TrainerConfig,
    temperature: float,
    settings: GradientSettings,
    folder: Path,
    display: Display,
) -> GradientResult:
    """Writes gradients.json, .csv and .md into `folder`, which holds nothing yet. `temperature` is that of the rollouts. Raises
    UserError."""
    check_free(folder, f"--output {folder}")
    chosen = chosen_groups(rollouts, settings)
    groups, pool = chosen.groups, chosen.pool
    for note in chosen.notes:
        display.say(f"{rollouts}: {note}")
    import pandas as pd
    import torch

    from gapo_cli.models.policy import load_policy
    from gapo_cli.training.gradient_sketches import completion_gradients

    torch.set_num_threads(trainer.threads or usable_cores())
    torch.manual_seed(settings.seed)  # of new adapters
    policy = load_policy(model, replace(trainer, shard=False))
    display.say(
        f"{len(groups)} prompts x {pool.truth.shape[1]} completions, gradients of {model.name} folded to {settings.sketch} numbers"
    )
    sketches = completion_gradients(policy, groups, temperature, settings.sketch, settings.seed, display.progress)
    findings = compare_gradients(
        pool, sketches, settings.variants, settings.sizes, settings.trials, settings.seed, display.progress
    )
    table = gradient_table(findings, len(groups), pool.truth.shape[1])
    markdown, values, numbers = (folder / name for name in (GRADIENTS_TABLE, GRADIENTS_ROWS, GRADIENTS_VALUES))
    rows = list(gradient_rows(findings))
    about = {"rollouts": str(rollouts), "model": asdict(model), "temperature": temperature, "prompts": len(groups)}
    write_json(numbers, {**about, **_plain(settings), "rows": rows})
    with atomic_path(values) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    write_text(markdown, "# Laboratory: gradients\n\n" + table.to_markdown())
    return GradientResult(table, tuple(findings), (markdown, values, numbers))


def _plain(settings: GradientSettings) -> dict[str, object]:
    keys = ("completions", "trials", "seed", "sketch")
    return {key: getattr(settings, key) for key in keys} | {"group_sizes": list(settings.sizes)}


@dataclass(frozen=True)
class ChosenGroups:
    """The groups whose gradients are computed, and their rewards as a pool; `notes`: which prompts are left out."""

    groups: list[Group]
    pool: Pool
    notes: list[str]


def chosen_groups(rollouts: Path, settings: GradientSettings) -> ChosenGroups:
    """Raises DataError for what is no pool."""
    path = rollouts / ROLLOUT_FILE if rollouts.is_dir() else rollouts
    if not path.is_file():
        raise DataError(f"{path}: no such file; make a pool with gapo rollout sampling.group_size=128, and name its folder")
    groups: list[Group] = []
    missing = equal = 0
    for group in iterate_groups(path, dropped=False):
        if len(group.completions) < settings.completions:
            raise DataError(
                f"{rollouts}: task {group.task.id} has {len(group.completions)} completions, and completions={settings.completions} are "
                "asked for; make a larger pool (gapo rollout sampling.group_size=128), or lower completions"
            )
        rewards = group.rewards[: settings.completions]
        if np.isnan(rewards).any():
            missing += 1
        elif np.ptp(rewards) <= EQUAL_WITHIN:
            equal += 1
        else:
            groups.append(first_completions(group, settings.completions))
    if not groups:
        raise DataError(f"{rollouts}: no prompt has rewards that are all there and differ, so there is no gradient to estimate")
    why = {"equal rewards only": equal, f"a missing reward among the first {settings.completions}": missing}
    notes = left_out_notes(why, len(groups) + equal + missing)
    if len(groups) > settings.prompts:
        groups = [groups[round(place)] for place in np.linspace(0, len(groups) - 1, settings.prompts)]
    return ChosenGroups(groups, make_pool(as_groups(str(rollouts), columns_of(groups)), max(settings.sizes)), notes)


def first_completions(group: Group, count: int) -> Group:
    cut = {name: getattr(group, name)[:count] for name in ("completions", "scores", "rewards")}
    components = {name: values[:count] for name, values in group.components.items()}
    return replace(group, **cut, components=components, advantages=None)


def columns_of(groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """One value a completion, as `as_groups` takes them."""
    sizes = [len(group.completions) for group in groups]
    count = sum(sizes)
    return {
        "step": np.zeros(count, dtype=np.int64),
        "group": np.repeat(np.arange(len(groups)), sizes),
        "completion": np.concatenate([np.arange(size) for size in sizes]),
        "task_id": np.repeat([group.task.id for group in groups], sizes),
        "dropped": np.zeros(count, dtype=bool),
        "length": np.array([one.length for group in groups for one in group.completions], dtype=np.float64),
        "reward": np.concatenate([group.rewards for group in groups]),
        "advantage": np.full(count, np.nan),
    }
