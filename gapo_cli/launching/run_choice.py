"""Which run `resume=auto` goes on with: the one that `hydra.run.dir` names, else the unfinished one that was started last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gapo_cli.errors import UserError
from gapo_cli.launching.overrides import key_of, quoted, unquoted
from gapo_cli.runs.claim import RUN_DIR
from gapo_cli.runs.layout import OUTCOME, SWEEP_PLAN
from gapo_cli.runs.outcome import DONE, read_outcome
from gapo_cli.storage.locks import is_held

OUTPUTS = Path("outputs")
AUTO = "resume=auto"


def choose_run(verb: str, words: Sequence[str]) -> tuple[list[str], str | None]:
    """The words of a command with the folder of the run that `resume=auto` means among them, and a sentence that says
    which it is (None: nobody asked). Where there is nothing to go on with, `resume=auto` is left out: a new run begins."""
    if AUTO not in words:
        return list(words), None
    if verb != "train":
        raise UserError(f"{AUTO}: is for `gapo train`; leave it out")
    named = next((unquoted(word.partition("=")[2]) for word in words if key_of(word) == RUN_DIR), None)
    rest = [word for word in words if word != AUTO]
    if named:
        if not (Path(named) / OUTCOME).is_file():
            return rest, f"{AUTO}: {named} holds no run yet, so one begins there"
        return list(words), f"{AUTO}: going on with {named}"
    unfinished = unfinished_runs()
    busy = [folder for folder in unfinished if is_held(folder)]
    besides = f" (in {', '.join(map(str, busy))} another process is at work)" if busy else ""
    free = [folder for folder in unfinished if folder not in busy]
    if not free:
        return rest, f"{AUTO}: there is no unfinished run under {OUTPUTS}/{besides}, so a new one begins"
    chosen = [*words, f"{RUN_DIR}={quoted(str(free[0]))}"]
    return chosen, f"{AUTO}: going on with {free[0]}, the unfinished run that was started last{besides}"


def unfinished_runs() -> list[Path]:
    """The training runs under outputs/ that have not come to their end, the one started last first. Jobs of a sweep belong
    to their sweep."""
    found = [path.parent for depth in ("*", "*/*") for path in OUTPUTS.glob(f"{depth}/{OUTCOME}")]
    own = [folder for folder in found if not (folder.parent / SWEEP_PLAN).is_file()]
    unfinished = [folder for folder in own if (outcome := read_outcome(folder)) is None or outcome.status != DONE]
    # of a killed run this is when it was started
    return sorted(unfinished, key=lambda folder: ((folder / OUTCOME).stat().st_mtime_ns, str(folder)), reverse=True)
