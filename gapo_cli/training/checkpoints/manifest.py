"""manifest.json: what a checkpoint's folder must hold, file by file, with size and SHA-256. Written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gapo_cli.errors import CheckpointError
from gapo_cli.runs.layout import CHECKPOINT_MANIFEST
from gapo_cli.storage.files import file_hash

FORMAT = 1


def write_manifest(folder: Path, values: Mapping[str, Any]) -> None:
    """Lists the files of `folder` in its manifest, under `values` that tell what the checkpoint is."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    listing = {str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": file_hash(file)} for file in files}
    text = json.dumps({"format": FORMAT, **values, "files": listing}, indent=1)
    (folder / CHECKPOINT_MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises CheckpointError where it is missing or cannot be read."""
    try:
        manifest = json.loads((folder / CHECKPOINT_MANIFEST).read_text(encoding="utf-8"))
        for expected in manifest["files"].values():
            expected["bytes"], expected["sha256"]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{folder}: has no {CHECKPOINT_MANIFEST}, so it is not a whole checkpoint; resume needs a checkpoints/step-* folder "
            "(a plain model folder goes to model.path)"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / CHECKPOINT_MANIFEST}: is damaged; resume from another checkpoint") from error
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that holds what it says. Raises CheckpointError naming the first file that is missing, cut
    or changed."""
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{folder}: {name} is missing; resume from another checkpoint")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(
                f"{folder}: {name} has {size} bytes, the manifest says {expected['bytes']}; resume from another checkpoint"
            )
        if file_hash(file) != expected["sha256"]:
            raise CheckpointError(
                f"{folder}: {name} is not what was written (its SHA-256 differs); resume from another checkpoint"
            )
    return manifest
