"""What the processes above rank 0 say: into a file of the run's folder, and not between the lines of rank 0."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO


class HiddenScreen:
    """Standard output and error of this process, gone to a file without a name until the run's folder is known (`keep_log`)."""

    def __init__(self) -> None:
        self.screen = os.dup(2)
        with tempfile.TemporaryFile() as file:
            _go_to(file)

    def show_what_is_kept_nowhere(self) -> None:
        """On the screen after all: of a process that failed before it met the others, which hear of what comes later."""
        distributed = sys.modules.get("torch.distributed")
        met = distributed is not None and distributed.is_initialized()
        said = _said_so_far()
        if said is not None and not met:
            _flush()
            with said, os.fdopen(self.screen, "wb") as screen:
                shutil.copyfileobj(said, screen)


def hide_screen() -> HiddenScreen | None:
    """Of a process above rank 0. To be called before anything is said."""
    return HiddenScreen() if os.environ.get("RANK", "0") != "0" else None


def keep_log(path: Path) -> None:
    """What was said so far, and all that comes, is at the end of this file. Its folder is made in the run's; where that is gone,
    rank 0 has failed already."""
    _flush()
    said = _said_so_far()
    if said is None or not path.parent.parent.is_dir():
        return
    path.parent.mkdir(exist_ok=True)
    with said, path.open("ab") as log:
        shutil.copyfileobj(said, log)
        log.flush()
        _go_to(log)


def _said_so_far() -> BinaryIO | None:
    """The file without a name; None where standard output is something else."""
    about = os.fstat(1)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink:
        return None
    file = os.fdopen(os.dup(1), "rb")
    file.seek(0)
    return file


def _go_to(file: BinaryIO) -> None:
    for number in (1, 2):
        os.dup2(file.fileno(), number)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
