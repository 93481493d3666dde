"""outcome.json: how a training run, or a job of a sweep, ended. It says "running" first, so a killed one is told by it."""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from gapo_cli.errors import StorageError, UserError, first_line
from gapo_cli.runs.layout import OUTCOME
from gapo_cli.storage.files import write_json

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


@dataclass(frozen=True)
class RunOutcome:
    """`status`: running, done, failed or stopped. `seconds`: of the last process that worked on it. `error`: why it failed,
    in a sentence; `details`: the traceback."""

    status: str
    seconds: float = 0.0
    error: str | None = None
    details: str | None = None


@contextlib.contextmanager
def outcome_recorded(folder: Path) -> Iterator[None]:
    """Writes outcome.json as the block begins and as it ends, in whatever way; what it raises passes."""
    started = time.monotonic()

    def save(status: str, error: str | None = None, details: str | None = None) -> None:
        write_json(folder / OUTCOME, asdict(RunOutcome(status, round(time.monotonic() - started, 3), error, details)))

    save(RUNNING)
    try:
        yield
    except KeyboardInterrupt:
        save(STOPPED)
        raise
    except BaseException as error:  # code that calls `exit` has not ended a run either
        sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
        with contextlib.suppress(StorageError):  # a full disk: what failed for it is what has to be told
            save(FAILED, sentence, traceback.format_exc())
        raise
    save(DONE)


def read_outcome(folder: Path) -> RunOutcome | None:
    """None where there is none. A damaged one counts as that of a run that was killed."""
    try:
        return RunOutcome(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return RunOutcome(RUNNING)
