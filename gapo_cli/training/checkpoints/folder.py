"""The folder of one checkpoint: whole or not there, and a sentence that says what a full disk leaves."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from gapo_cli.errors import CheckpointError
from gapo_cli.storage.files import UNWRITABLE
from gapo_cli.storage.whole_folder import whole_folder

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
REMEDIES = UNWRITABLE | dict.fromkeys(FORBIDDEN, "make it writable")
"""A run goes on in its own folder, so that another one is no way out."""


@contextlib.contextmanager
def checkpoint_folder(target: Path, otherwise: str, previous: Path | None = None) -> Iterator[Path]:
    """`whole_folder` in a run's folder of checkpoints. Raises CheckpointError for what cannot be written; `otherwise` says in
    it what there still is."""
    try:
        with whole_folder(target, previous) as made:
            yield made
    # safetensors reports a full disk by an error of its own, save_model by a CheckpointError with the cause in it
    except (OSError, SafetensorError, CheckpointError) as error:
        cause = error.__cause__ or error
        remedy = REMEDIES.get(getattr(cause, "errno", None), "free some space")
        raise CheckpointError(
            f"{target}: cannot be written ({getattr(cause, 'strerror', None) or cause}); {otherwise}: {remedy}, then go on "
            f"with resume=auto hydra.run.dir={target.parent.parent}"
        ) from error
