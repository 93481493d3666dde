"""Checkpoints that are whole or not there: written aside, listed in a manifest, renamed into place.

checkpoints/step-00020/ is a Hugging Face model folder with trainer_state.safetensors, trainer_state.json and, written
last, manifest.json with the size and SHA-256 of every file. checkpoints/best/ is a plain model folder with best.json.
No file of either is a pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gapo_cli.errors import CheckpointError
from gapo_cli.files import put_in_place
from gapo_cli.models.load import LoadedModel, save_model

FOLDER = "checkpoints"
BEST = "best"
MANIFEST = "manifest.json"
STATE_TENSORS = "trainer_state.safetensors"
STATE_VALUES = "trainer_state.json"
BEST_RECORD = "best.json"
FORMAT = 1
HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class TrainerState:
    """What a run needs beside the model to go on as if it had never stopped."""

    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, of which the `keep` newest stay."""

    def __init__(self, run_dir: Path, keep: int) -> None:
        self.folder = run_dir / FOLDER
        self.keep = keep

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:05d}"

    @property
    def best(self) -> Path:
        return self.folder / BEST

    def save(self, step: int, policy: LoadedModel, state: TrainerState) -> Path:
        """Raises CheckpointError where it cannot be written (a full disk); earlier checkpoints are then untouched."""
        target = self.path(step)
        with _new_folder(target, self._previous_sentence()) as folder:
            save_model(policy, folder)
            save_file(state.tensors, folder / STATE_TENSORS)
            _write_json(folder / STATE_VALUES, state.values)
            _write_json(folder / MANIFEST, {"format": FORMAT, "step": step, "files": _listing(folder)})
        for old in steps_of(self.folder)[: -self.keep]:
            shutil.rmtree(self.path(old))
        return target

    def save_best(self, policy: LoadedModel, record: dict[str, Any]) -> Path:
        with _new_folder(self.best, self._previous_sentence()) as folder:
            save_model(policy, folder)
            _write_json(folder / BEST_RECORD, record)
        return self.best

    def forget_after(self, step: int) -> list[Path]:
        """Removes, and returns, what comes from beyond `step`: a run that goes on from there has not got so far."""
        later = [self.path(found) for found in steps_of(self.folder) if found > step]
        record = self.best / BEST_RECORD
        if record.is_file() and json.loads(record.read_text(encoding="utf-8"))["step"] > step:
            later.append(self.best)
        for folder in later:
            shutil.rmtree(folder)
        return later

    def _previous_sentence(self) -> str:
        steps = steps_of(self.folder)
        return f"{self.path(steps[-1])} is whole" if steps else "there is no earlier one"


def steps_of(folder: Path) -> list[int]:
    """The steps of which `folder` has a checkpoint, rising."""
    names = [entry.name for entry in folder.glob("step-*") if entry.is_dir()]
    return sorted(int(name.removeprefix("step-")) for name in names if name.removeprefix("step-").isdigit())


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that `resume=path` means: a checkpoint folder, or the newest of a run's folder. It is verified.
    Raises CheckpointError where there is none or where it is damaged."""
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"resume={path}: no such folder; need a run's folder or one of its checkpoints/step-* folders")
    if not (path / FOLDER).is_dir():
        verify(path)
        return path
    steps = steps_of(path / FOLDER)
    if not steps:
        raise CheckpointError(f"resume={path}: the run has no checkpoint yet; start it anew, or name another run's folder")
    newest = path / FOLDER / f"step-{steps[-1]:05d}"
    try:
        verify(newest)
    except CheckpointError as error:
        if len(steps) == 1:
            raise
        raise CheckpointError(f"{error}; the one before is resume={path / FOLDER / f'step-{steps[-2]:05d}'}") from error
    return newest


def verify(folder: Path) -> None:
    """Raises CheckpointError naming the first file that is missing, cut or changed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: has no {MANIFEST}, so it is not a whole checkpoint; resume needs a checkpoints/step-* folder "
            "(a plain model folder goes to model.path)"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / MANIFEST}: is damaged; resume from another checkpoint") from error
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{folder}: {name} is missing; resume from another checkpoint")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{folder}: {name} has {size} bytes, the manifest says {expected['bytes']}; resume from another checkpoint")
        if _sha256(file) != expected["sha256"]:
            raise CheckpointError(f"{folder}: {name} is not what was written (its SHA-256 differs); resume from another checkpoint")


def load_state(folder: Path) -> TrainerState:
    """The trainer's state of a verified checkpoint."""
    values = json.loads((folder / STATE_VALUES).read_text(encoding="utf-8"))
    return TrainerState(load_file(folder / STATE_TENSORS), values)


@contextlib.contextmanager
def _new_folder(target: Path, previous: str) -> Iterator[Path]:
    """Yields a path to make a folder at; on success that folder is synced and takes `target`'s place, on failure it is
    removed and `target` stays. Raises CheckpointError for what cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            yield aside / target.name
            for path in [aside / target.name, *(aside / target.name).rglob("*")]:
                _sync(path)
            put_in_place(aside / target.name, target, aside / "previous")
            _sync(target.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    # safetensors reports a full disk by an error of its own, save_model by a CheckpointError with the cause in it
    except (OSError, SafetensorError, CheckpointError) as error:
        cause = error.__cause__ or error
        raise CheckpointError(
            f"{target}: cannot be written ({getattr(cause, 'strerror', None) or cause}); {previous}: free some space, then go on "
            f"with resume={target.parent.parent}"
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files}


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
