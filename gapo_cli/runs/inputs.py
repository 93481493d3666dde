"""inputs.json: the SHA-256 of the data and of the starting model that a training run read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.runs.layout import INPUTS


def read_inputs(run_dir: Path) -> dict[str, dict[str, str]]:
    """Raises DataError where the file is missing or damaged."""
    path = run_dir / INPUTS
    try:
        inputs = json.loads(path.read_text(encoding="utf-8"))
        return {"data": dict(inputs["data"]), "model": dict(inputs["model"])}
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; the data and the model of the run are unknown") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged; the data and the model of the run are unknown") from error


def other_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for the data and one for the model where they are not the same."""
    words = {"data": "the data differ", "model": "the starting model differs"}
    said = []
    for kind, sentence in words.items():
        names = sorted(name for name in {**before[kind], **now[kind]} if before[kind].get(name) != now[kind].get(name))
        if names:
            said.append(f"{sentence} ({', '.join(names)})")
    return said
