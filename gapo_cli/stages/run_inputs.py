"""inputs.json: the SHA-256 of the data and of the starting model that a training run read, so that it can be told later whether
they are still the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError, UserError
from gapo_cli.files import file_hash, write_json
from gapo_cli.interfaces import Display, Experiment
from gapo_cli.stages.prepare import prepare

INPUTS = "inputs.json"


def describe_inputs(experiment: Experiment, display: Display) -> dict[str, dict[str, str]]:
    """Name → SHA-256 (hex) of every split under "data", of every file under "model" (none where a new model is made). Data that
    are missing are prepared. Raises UserError where data or model cannot be had."""
    splits = prepare(experiment, display).manifest["splits"]
    return {"data": {split: counts["sha256"] for split, counts in splits.items()}, "model": model_files(experiment)}


def model_files(experiment: Experiment) -> dict[str, str]:
    """An adapter's with those of its base."""
    from gapo_cli.models.folders import MODEL_FILES, base_of, find_folder, is_adapter

    if experiment.stage == "sft" and experiment.supervised.architecture is not None:
        return {}
    folder = find_folder(experiment.model)
    places = {"": folder}
    if is_adapter(folder):
        places["base/"] = find_folder(replace(experiment.model, path=base_of(folder)))
    return {
        f"{prefix}{path.name}": file_hash(path)
        for prefix, place in places.items()
        for pattern in MODEL_FILES
        for path in sorted(place.glob(pattern))
    }


def keep_inputs(experiment: Experiment, run_dir: Path, display: Display) -> None:
    """Writes inputs.json as a run begins. Where a resumed one finds other data or another starting model than it began with,
    that is said."""
    path = run_dir / INPUTS
    if not path.is_file():
        write_json(path, describe_inputs(experiment, display))
        return
    try:
        others = other_inputs(read_inputs(run_dir), describe_inputs(experiment, display))
    except UserError as error:  # the starting model may be gone by now: a run that is resumed has its own
        others = [f"what this run began with cannot be compared ({error})"]
    for sentence in others:
        display.say(f"warning: {sentence}; that is not what {path} says, and the run may not go on as it would have")


def read_inputs(run_dir: Path) -> dict[str, dict[str, str]]:
    """Raises DataError where the file is missing or damaged."""
    path = run_dir / INPUTS
    try:
        inputs = json.loads(path.read_text(encoding="utf-8"))
        return {"data": dict(inputs["data"]), "model": dict(inputs["model"])}
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; what data and model the run had cannot be told") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged; what data and model the run had cannot be told") from error


def other_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for the data and one for the model where they are not the same."""
    words = {"data": "the data are others", "model": "the starting model is another"}
    said = []
    for kind, sentence in words.items():
        names = sorted(name for name in {**before[kind], **now[kind]} if before[kind].get(name) != now[kind].get(name))
        if names:
            said.append(f"{sentence} ({', '.join(names)} {'differs' if len(names) == 1 else 'differ'})")
    return said
