"""A folder that is whole or not there: made aside, synced, renamed into place."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from gapo_cli.errors import CheckpointError
from gapo_cli.storage.files import UNWRITABLE, put_in_place, sync

ASIDE = re.compile(r"\.[\w-]+\.\w{8}")
"""How the folders are called that writers work in: `.NAME.` and eight characters of mkdtemp."""

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
REMEDIES = UNWRITABLE | dict.fromkeys(FORBIDDEN, "make it writable")
"""A run goes on in its own folder, so that another one is no way out."""


@contextlib.contextmanager
def new_folder(target: Path, otherwise: str, previous: Path | None = None) -> Iterator[Path]:
    """Yields a path to make a folder at; on success that folder is synced and takes `target`'s place, on failure it is
    removed and `target` stays. What stood there is moved to `previous`, or removed. Raises CheckpointError for what cannot
    be written; `otherwise` says in it what there still is."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            made = aside / target.name
            yield made
            for path in [made, *made.rglob("*")]:
                sync(path)
            put_in_place(made, target, previous or aside / "previous")
            sync(target.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    # safetensors reports a full disk by an error of its own, save_model by a CheckpointError with the cause in it
    except (OSError, SafetensorError, CheckpointError) as error:
        cause = error.__cause__ or error
        remedy = REMEDIES.get(getattr(cause, "errno", None), "free some space")
        raise CheckpointError(
            f"{target}: cannot be written ({getattr(cause, 'strerror', None) or cause}); {otherwise}: {remedy}, then go on "
            f"with resume=auto hydra.run.dir={target.parent.parent}"
        ) from error


def remove_left_behind(parent: Path) -> None:
    """Removes what killed writers left in `parent`. Only where nobody writes."""
    for aside in parent.glob(".*"):
        if aside.is_dir() and ASIDE.fullmatch(aside.name):
            shutil.rmtree(aside)
