"""gapo train --rerun: what two runs have not alike, in sentences: their machines, their settings, what they wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gapo_cli.config.keys import flatten
from gapo_cli.errors import DataError
from gapo_cli.runs.layout import RERUN
from gapo_cli.storage.files import write_json

NOT_COMPARED = ("command", "hardware.memory_mib")
"""Of environment.json: what does not bear upon the numbers."""


@dataclass(frozen=True)
class RerunResult:
    """`of`: the run that was repeated in `run_dir` (None: not repeated, since it began with other `inputs`). `results`: what the two
    wrote that is not alike. `settings` and `environment` may differ and the results be alike all the same."""

    of: Path
    run_dir: Path | None
    inputs: tuple[str, ...]
    settings: tuple[str, ...]
    environment: tuple[str, ...]
    results: tuple[str, ...]

    @property
    def matched(self) -> bool:
        return not self.inputs and not self.results

    def save(self) -> None:
        """Writes rerun.json into the new run's folder."""
        values = asdict(self) | {"of": str(self.of), "run_dir": str(self.run_dir), "matched": self.matched}
        write_json(self.run_dir / RERUN, values)

    def verdict(self) -> str:
        if self.run_dir is None:
            return f"rerun of {self.of}: not begun, for it cannot match: {'; '.join(self.inputs)}"
        if self.matched:
            return f"rerun of {self.of}: matched, bit for bit: metrics without clocks, rollouts, evaluations, checkpoints ({self.run_dir})"
        more = len(self.results) - 1
        return f"rerun of {self.of}: did NOT match: {self.results[0]}" + (
            f"; and {more} more in {self.run_dir / RERUN}" if more else ""
        )


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key → (value before, value now), None where there is none."""
    ours, theirs = (
        # a section has no value of its own, except that it is empty
        {key: value for key, value in flatten(values) if not (isinstance(value, Mapping) and value)}
        for values in (before, now)
    )
    return {
        key: (ours.get(key), theirs.get(key))
        for key in {**ours, **theirs}
        if key not in ours or key not in theirs or ours[key] != theirs[key]
    }


def environment_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """ "packages.torch: 2.13.0 there, 2.12.1 here" for everything that may bear upon the numbers."""
    changed = changed_keys(before, now)
    return tuple(f"{key}: {there} there, {here} here" for key, (there, here) in changed.items() if key not in NOT_COMPARED)


def read_environment(path: Path) -> dict[str, Any]:
    """Raises DataError where it is missing or damaged."""
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); a run that is repeated needs it") from error
    if not isinstance(environment, dict):
        raise DataError(f"{path}: is no description of an environment")
    return environment
