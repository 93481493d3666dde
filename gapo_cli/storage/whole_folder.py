"""A folder that is whole or not there: made aside, synced, renamed into place. Every folder that gapo writes as one thing
(task sets, models, checkpoints) is written here."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gapo_cli.storage.files import new_file_mode, sync

ASIDE = re.compile(r"\.[\w-]+\.\w{8}")
"""How the folders are called that writers work in: `.NAME.` and eight characters of mkdtemp."""


@contextlib.contextmanager
def whole_folder(target: Path, previous: Path | None = None, as_good: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Yields a path to make a folder at; on success that folder is synced and takes `target`'s place, on failure it is
    removed and `target` stays. What stood there is moved to `previous`, or removed. `as_good`: asked about what stands at
    `target` when the new folder is done (another process may have made it since); if it says yes, that stays instead.
    Raises OSError for what cannot be written: the caller knows what to say about it."""
    target = target.resolve()  # a link stays one, and what is written lies where it leads
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        made = aside / target.name
        yield made
        mode = new_file_mode()  # safetensors makes its files private
        for path in [made, *made.rglob("*")]:
            if path.is_file():
                path.chmod(mode)
            sync(path)
        _put_unless_as_good(made, target, previous or aside / "previous", as_good)
        sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put_unless_as_good(made: Path, target: Path, previous: Path, as_good: Callable[[Path], bool] | None) -> None:
    def stands() -> bool:
        return as_good is not None and target.is_dir() and as_good(target)

    if stands():
        return
    try:
        put_in_place(made, target, previous)
    except OSError:
        if not stands():  # another process was faster by less than the question took
            raise


def put_in_place(written: Path, folder: Path, previous: Path) -> None:
    """Renames `written` to `folder`. A folder cannot be renamed over another: one that stands there steps aside to
    `previous`, and comes back if the renaming fails or is interrupted."""
    if not folder.exists():
        written.rename(folder)
        return
    folder.rename(previous)
    try:
        written.rename(folder)
    except BaseException:
        previous.rename(folder)
        raise


def remove_folder(folder: Path) -> None:
    """Removes a folder so that nobody ever finds a part of it under its name."""
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    folder.rename(aside / folder.name)
    shutil.rmtree(aside)


def remove_left_behind(parent: Path) -> None:
    """Removes what killed writers left in `parent`. Only where nobody writes."""
    for aside in parent.glob(".*"):
        if aside.is_dir() and ASIDE.fullmatch(aside.name):
            shutil.rmtree(aside)
